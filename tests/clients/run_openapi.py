#!/usr/bin/env python3
"""Starts a server and lets schemathesis try every operation of its /openapi.json, with data that the document allows and data that
it does not. Fails on a 5xx (503 and 504 apart: a full server, a deadline that the case set), on an answer that the document does
not describe, on wrong data that is taken, and on a hang; the canary before and after must be the same, byte for byte.

usage: run_openapi.py --binary FOREGATE --model DIR --venv DIR [--cases N] [--seed N] [--seeds N]
Exit status: 0 good, 1 not, 77 skipped, with the reason, because PyPI cannot be reached."""
import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from demo_server import DemoServer  # noqa: E402
from ready_python import SKIPPED, ready_python  # noqa: E402

CANARY = {"prompt": "Once upon a time", "max_tokens": 12, "temperature": 0}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--venv", required=True, type=Path, help="made when it does not exist")
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="that share the cases, one after the other")
    options = parser.parse_args()
    python = ready_python(options.venv.resolve(), HERE / "openapi_requirements.txt", "import schemathesis")
    if python is None:
        print("SKIPPED: the Python packages of tests/clients/openapi_requirements.txt cannot be had")
        return SKIPPED
    with tempfile.TemporaryDirectory() as files, DemoServer(options.binary.resolve(), options.model.resolve(), "--max-model-len", "96",
                                                            "--files-dir", files) as server:
        before = server.post("/v1/completions", CANARY)["choices"]
        done = subprocess.run([python, "-B", HERE / "openapi_cases.py", "--url", server.http, "--cases", str(options.cases),
                               "--seed", str(options.seed), "--seeds", str(options.seeds)], cwd=files)
        if server.process.poll() is not None:
            print("the server died\n" + "".join(server.log))
            return 1
        server.wait_until_idle()
        if server.post("/v1/completions", CANARY)["choices"] != before:
            print("the canary has changed")
            return 1
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
