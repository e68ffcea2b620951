#!/usr/bin/env python3
"""Runs the end-to-end tests: the built program, a model, and the official openai client.

Exit code 77 (skipped, for ctest) when the virtual environment cannot be made, else pytest's own."""
import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from ready_python import SKIPPED, ready_python  # noqa: E402
PROBE = "import anthropic, grpc_health, grpc_reflection, grpc_tools, httpx, openai, pytest"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--venv", required=True, type=Path, help="made when it does not exist")
    parser.add_argument("rest", nargs="*", help="passed on to pytest, after --")
    options = parser.parse_args()
    python = ready_python(options.venv.resolve(), HERE / "requirements.txt", PROBE)
    if python is None:
        print("e2e: SKIPPED: the Python packages of tests/e2e/requirements.txt cannot be had")
        return SKIPPED
    environment = dict(os.environ, FOREGATE_E2E_BINARY=str(options.binary.resolve()),
                       FOREGATE_E2E_MODEL=str(options.model.resolve()), PYTHONDONTWRITEBYTECODE="1")
    chosen = [] if any(".py" in word for word in options.rest) else [HERE]
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, *options.rest]
    return subprocess.run(command, env=environment, cwd=HERE).returncode


if __name__ == "__main__":
    sys.exit(main())
