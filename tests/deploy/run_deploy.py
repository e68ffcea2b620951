#!/usr/bin/env python3
"""Runs the checks of deploy/ in a virtual environment with Helm's own library and Kubernetes' schemas.

Exit code 77 (skipped, for ctest) when that cannot be made, else unittest's own."""
import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from ready_python import SKIPPED, ready_python  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--venv", required=True, type=Path, help="made when it does not exist")
    parser.add_argument("rest", nargs="*", help="passed on to unittest, after --")
    options = parser.parse_args()
    python = ready_python(options.venv.resolve(), HERE / "requirements.txt", "import helm_python.chart, kubernetes_validate, yaml, debsbom")
    if python is None:
        print("deploy: SKIPPED: the Python packages of tests/deploy/requirements.txt cannot be had")
        return SKIPPED
    environment = dict(os.environ, FOREGATE_BINARY=str(options.binary.resolve()), PYTHONDONTWRITEBYTECODE="1")
    return subprocess.run([python, "-m", "unittest", *(options.rest or ["-v", "manifests_test", "kubelet_test"])], env=environment, cwd=HERE).returncode


if __name__ == "__main__":
    sys.exit(main())
