#!/usr/bin/env python3
"""Runs test_shape_gguf.py in a virtual environment with numpy and gguf, made when it does not exist.

Exit code 77 (skipped, for ctest) when the packages cannot be had, else the test's own."""
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
SKIPPED = 77


def has_packages(python):
    return python.exists() and subprocess.run([python, "-c", "import gguf, numpy"], capture_output=True).returncode == 0


def main():
    folder = Path(sys.argv[1])
    python = folder / "bin" / "python"
    try:
        if not python.exists():
            venv.create(folder, with_pip=True)
        if not has_packages(python):
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r",
                            HERE / "requirements.txt"], check=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"shape_gguf: SKIPPED: the Python packages of tests/bench/requirements.txt cannot be had: {error}")
        return SKIPPED
    return subprocess.run([python, "-B", HERE / "test_shape_gguf.py"], cwd=HERE).returncode


if __name__ == "__main__":
    sys.exit(main())
