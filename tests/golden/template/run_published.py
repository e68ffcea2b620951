#!/usr/bin/env python3
"""Runs the published-template parity test against templates fetched from a pinned PyPI source package.

usage: run_published.py --binary test_template --work DIR
Exit status: 0 all equal, 1 a mismatch, 77 skipped, with the reason, because PyPI cannot be reached.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tarfile
import venv

PACKAGE = "llama-cpp-python==0.3.36"
INSIDE = "/vendor/llama.cpp/models/templates/"
SKIPPED = 77


def unpack_templates(archive, folder):
    """Copies the template files out of the source package; names are taken flat, nothing else is unpacked."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with tarfile.open(archive) as package:
        for member in package:
            if member.isfile() and INSIDE in member.name and member.name.endswith(".jinja"):
                (folder / pathlib.PurePosixPath(member.name).name).write_bytes(package.extractfile(member).read())
                count += 1
    return count


def fetch(work):
    """The folder of templates, or None when the package cannot be had."""
    folder = work / "templates"
    if (work / "ready").exists():
        return folder
    work.mkdir(parents=True, exist_ok=True)
    try:
        if not (work / "venv" / "bin" / "python").exists():
            venv.create(work / "venv", with_pip=True)
        command = [work / "venv" / "bin" / "python", "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                   "--no-deps", "--no-binary", "llama-cpp-python", "--dest", work, PACKAGE]
        subprocess.run(command, check=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"cannot fetch {PACKAGE}: {error}")
        return None
    archives = list(work.glob("llama_cpp_python-*.tar.gz"))
    if not archives or unpack_templates(archives[0], folder) == 0:
        return None
    archives[0].unlink()
    (work / "ready").touch()
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=pathlib.Path)
    parser.add_argument("--work", required=True, type=pathlib.Path)
    options = parser.parse_args()
    folder = fetch(options.work)
    if folder is None:
        print("skipped: published chat templates: PyPI cannot be reached")
        return SKIPPED
    command = [options.binary, "--gtest_filter=*Published*"]
    return 1 if subprocess.run(command, env=dict(os.environ, FOREGATE_CHAT_TEMPLATES=str(folder))).returncode else 0


if __name__ == "__main__":
    sys.exit(main())
