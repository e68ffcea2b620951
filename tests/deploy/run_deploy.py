#!/usr/bin/env python3
"""Runs the checks of deploy/ in a virtual environment with Helm's own library and Kubernetes' schemas.

Exit code 77 (skipped, for ctest) when that cannot be made, else unittest's own."""
import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
SKIPPED = 77


def has_packages(python, probe):
    return python.exists() and subprocess.run([python, "-c", probe], capture_output=True).returncode == 0


def ready_python(folder, requirements, probe):
    """The interpreter of a virtual environment with the packages, or None."""
    python = folder / "bin" / "python"
    if has_packages(python, probe):
        return python
    try:
        if not python.exists():
            venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r",
                        requirements], check=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no virtual environment: {error}", file=sys.stderr)
        return None
    return python if has_packages(python, probe) else None


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
    return subprocess.run([python, "-m", "unittest", *(options.rest or ["-v", "manifests_test"])], env=environment, cwd=HERE).returncode


if __name__ == "__main__":
    sys.exit(main())
