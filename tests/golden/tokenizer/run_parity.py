#!/usr/bin/env python3
"""Run tokenizer_parity over a suite of tokenizers.

usage: run_parity.py --binary B --work DIR [--suite synthetic|real|file] [--tokenizer T.json] [--wheels DIR]

synthetic: the committed tokenizers and results of synthetic/ (needs nothing else).
real:      tokenizers of pinned PyPI packages; results are made here with the `tokenizers` library.
file:      one tokenizer.json given with --tokenizer, against the `tokenizers` library.
Exit status: 0 all equal, 1 a mismatch, 77 skipped, with the reason, because PyPI cannot be reached.
"""
import argparse
import importlib.util
import pathlib
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77
TOKENIZERS_VERSION = "0.23.3"


def python_with_tokenizers(work):
    """This interpreter when it has the library, else one in a virtual environment under `work`."""
    if importlib.util.find_spec("tokenizers"):
        return sys.executable
    folder = work / "venv"
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if ready.exists():
        return str(python)
    try:
        venv.create(folder, with_pip=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
               f"tokenizers=={TOKENIZERS_VERSION}"]
    if subprocess.run(install, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        return None
    ready.touch()
    return str(python)


def compare(binary, tokenizer, cases):
    done = subprocess.run([binary, str(tokenizer), str(cases)], capture_output=True, text=True, check=False)
    print(f"{tokenizer.stem}: {done.stdout.strip()}{done.stderr.strip()}")
    return done.returncode == 0


def make_and_compare(binary, python, tokenizer, work):
    cases = work / f"{tokenizer.stem}.cases.jsonl"
    subprocess.run([python, str(HERE / "make_cases.py"), str(tokenizer), str(cases)], check=True)
    return compare(binary, tokenizer, cases)


def synthetic(options):
    files = sorted((HERE / "synthetic").glob("*.cases.jsonl"))
    results = [compare(options.binary, path.with_name(path.name.replace(".cases.jsonl", ".json")), path) for path in files]
    return 0 if results and all(results) else 1


def real(options):
    python = python_with_tokenizers(options.work)
    if python is None:
        print("skipped: the tokenizers library could not be installed from PyPI")
        return SKIPPED
    folder = options.work / "real"
    command = [python, str(HERE / "fetch_tokenizers.py"), "--out", str(folder)]
    if options.wheels:
        command += ["--wheels", str(options.wheels)]
    fetched = subprocess.run(command, check=False).returncode
    if fetched not in (0, SKIPPED):
        return 1
    results = [make_and_compare(options.binary, python, path, options.work) for path in sorted(folder.glob("*.json"))]
    if not all(results):
        return 1
    if fetched == SKIPPED:
        print(f"skipped: not all tokenizer packages could be downloaded ({len(results)} tokenizers compared)")
        return SKIPPED
    return 0


def one_file(options):
    python = python_with_tokenizers(options.work)
    if python is None:
        print("skipped: the tokenizers library could not be installed from PyPI")
        return SKIPPED
    return 0 if make_and_compare(options.binary, python, options.tokenizer, options.work) else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--suite", choices=["synthetic", "real", "file"], default="synthetic")
    parser.add_argument("--tokenizer", type=pathlib.Path)
    parser.add_argument("--wheels", type=pathlib.Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    return {"synthetic": synthetic, "real": real, "file": one_file}[options.suite](options)


if __name__ == "__main__":
    sys.exit(main())
