#!/usr/bin/env python3
"""Run tokenizer_parity over a suite of tokenizers.

usage: run_parity.py --binary B --work DIR [--suite synthetic|real|file] [--tokenizer T.json] [--wheels DIR]

synthetic: the committed tokenizers and results of synthetic/, and their GGUF vocabularies (needs nothing else).
real:      tokenizers of pinned PyPI packages; results are made here with the `tokenizers` library,
           and compared with the tokenizer.json and with a GGUF vocabulary made of it.
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
GGUF = HERE.parent / "gguf"
SKIPPED = 77
LIBRARIES = {"tokenizers": "0.23.3", "gguf": "0.19.0"}
# What a GGUF file of each real tokenizer has in tokenizer.ggml.pre. Not among them: mixtral_8x22b, whose Metaspace puts
# its space before the first text only, which GGUF metadata cannot say.
GGUF_PRE = {"deepseek_v3": "deepseek-v3", "qwen3_moe": "qwen2", "qwen3_next": "qwen35", "mixtral_8x7b": "sentencepiece",
            "mistral_tekken": "tekken", "llama4": "llama4", "olmoe": "olmo"}


def python_with_libraries(work):
    """This interpreter when it has them, else one in a virtual environment under `work`."""
    if all(importlib.util.find_spec(name) for name in LIBRARIES):
        return sys.executable
    folder = work / "venv"
    python = folder / "bin" / "python"
    ready = folder / "ready-with-gguf"
    if ready.exists():
        return str(python)
    try:
        venv.create(folder, with_pip=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install += [f"{name}=={version}" for name, version in LIBRARIES.items()]
    if subprocess.run(install, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        return None
    ready.touch()
    return str(python)


def compare(binary, tokenizer, cases):
    done = subprocess.run([binary, str(tokenizer), str(cases)], capture_output=True, text=True, check=False)
    print(f"{tokenizer.name}: {done.stdout.strip()}{done.stderr.strip()}")
    return done.returncode == 0


def make_and_compare(binary, python, tokenizer, work):
    cases = work / f"{tokenizer.stem}.cases.jsonl"
    subprocess.run([python, str(HERE / "make_cases.py"), str(tokenizer), str(cases)], check=True)
    same = compare(binary, tokenizer, cases)
    pre = GGUF_PRE.get(tokenizer.stem)
    if pre is None:
        return same
    vocab = work / f"{tokenizer.stem}.vocab.gguf"
    subprocess.run([python, str(GGUF / "make_gguf_vocab.py"), str(tokenizer), pre, str(vocab)], check=True)
    return compare(binary, vocab, cases) and same


def synthetic(options):
    files = sorted((HERE / "synthetic").glob("*.cases.jsonl"))
    results = [compare(options.binary, path.with_name(path.name.replace(".cases.jsonl", ".json")), path) for path in files]
    vocabs = sorted(GGUF.glob("*.vocab.gguf"))
    for vocab in vocabs:
        cases = HERE / "synthetic" / vocab.name.replace(".vocab.gguf", ".cases.jsonl")
        results.append(compare(options.binary, vocab, cases))
    return 0 if files and vocabs and all(results) else 1


def real(options):
    python = python_with_libraries(options.work)
    if python is None:
        print("skipped: the tokenizers and gguf libraries could not be installed from PyPI")
        return SKIPPED
    folder = options.work / "real"
    command = [python, str(HERE / "fetch_tokenizers.py"), "--out", str(folder)]
    if options.wheels:
        command += ["--wheels", str(options.wheels)]
    fetched = subprocess.run(command, check=False).returncode
    if fetched not in (0, SKIPPED):
        return 1
    tokenizers = [path for path in sorted(folder.glob("*.json")) if not path.name.endswith(".scores.json")]
    results = [make_and_compare(options.binary, python, path, options.work) for path in tokenizers]
    if not all(results):
        return 1
    if fetched == SKIPPED:
        print(f"skipped: not all tokenizer packages could be downloaded ({len(results)} tokenizers compared)")
        return SKIPPED
    return 0


def one_file(options):
    python = python_with_libraries(options.work)
    if python is None:
        print("skipped: the tokenizers and gguf libraries could not be installed from PyPI")
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
