#!/usr/bin/env python3
"""Builds the Python client as users do (source distribution, then wheel from it), installs the wheel in a new virtual environment
with nothing else but pytest, and runs tests/clients/python there against a server.

usage: run_python.py --binary FOREGATE --model DIR --work DIR [-- pytest options]
Exit status: 0 good, 1 not, 77 skipped, with the reason, because PyPI cannot be reached."""
import argparse
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SKIPPED = 77
BUILD = ["build==1.6.1"]
PYTEST = ["pytest==9.2.0"]


def python_of(folder, packages):
    """The interpreter of a new virtual environment with these packages."""
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], check=True, timeout=300)
    return python


def build_wheel(work):
    """Built from a copy of what the repository has: nothing is written into the tree."""
    source = work / "source"
    shutil.rmtree(source, ignore_errors=True)
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT / "tools/clients/python", source / "tools/clients/python", ignore=unwanted)
    shutil.copytree(ROOT / "proto", source / "proto")
    out = work / "dist"
    shutil.rmtree(out, ignore_errors=True)
    builder = work / "build_venv" / "bin" / "python"
    subprocess.run([builder, "-m", "build", "--outdir", out, source / "tools/clients/python"], check=True, timeout=300,
                   stdout=subprocess.DEVNULL)
    wheel, = out.glob("*.whl")
    return wheel


def check_version(wheel):
    version = re.search(r"project\(foregate VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
    assert wheel.name.startswith(f"foregate-{version}-"), f"{wheel.name} beside version {version} of CMakeLists.txt"


def reachable(work):
    """Whether PyPI gives what is needed at all; what fails later is a fault."""
    try:
        python_of(work / "build_venv", BUILD)
        return True
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no virtual environment: {error}", file=sys.stderr)
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("rest", nargs="*", help="passed on to pytest, after --")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if not reachable(options.work):
        print("SKIPPED: PyPI cannot be reached")
        return SKIPPED
    wheel = build_wheel(options.work)
    check_version(wheel)
    python = python_of(options.work / "venv", [str(wheel), *PYTEST])
    environment = dict(os.environ, FOREGATE_BINARY=str(options.binary.resolve()), FOREGATE_MODEL=str(options.model.resolve()),
                       FOREGATE_EXAMPLES=str(ROOT / "tools/clients/python/examples"), PYTHONDONTWRITEBYTECODE="1")
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", HERE / "python", *options.rest]
    return subprocess.run(command, env=environment, cwd=options.work).returncode


if __name__ == "__main__":
    sys.exit(main())
