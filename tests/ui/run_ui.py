#!/usr/bin/env python3
"""Runs the tests of the page in headless Chromium.

Exit code 77 (skipped, for ctest) where there is no Chromium or playwright cannot be had, else unittest's own."""
import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from ready_python import SKIPPED, ready_python  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--venv", required=True, type=Path, help="made when it does not exist")
    parser.add_argument("--pictures", type=Path, help="folder for screenshots; none are kept without it")
    parser.add_argument("rest", nargs="*", help="passed on to unittest, after --")
    options = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        print("page: SKIPPED: no Chromium")
        return SKIPPED
    python = ready_python(options.venv.resolve(), HERE / "requirements.txt", "import playwright.sync_api")
    if python is None:
        print("page: SKIPPED: playwright cannot be had")
        return SKIPPED
    environment = dict(os.environ, FOREGATE_BINARY=str(options.binary.resolve()), FOREGATE_MODEL=str(options.model.resolve()),
                       FOREGATE_BROWSER=browser, PYTHONDONTWRITEBYTECODE="1")
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        environment["FOREGATE_PICTURES"] = str(options.pictures.resolve())
    return subprocess.run([python, "-m", "unittest", *(options.rest or ["-v", "page_test"])], env=environment, cwd=HERE).returncode


if __name__ == "__main__":
    sys.exit(main())
