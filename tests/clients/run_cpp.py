#!/usr/bin/env python3
"""Installs the C++ client into a folder, builds its example against the package outside of the tree, runs it against a server.

usage: run_cpp.py --binary FOREGATE --model DIR --work DIR"""
import argparse
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLIENT = HERE.parents[1] / "tools/clients/cpp"
sys.path.insert(0, str(HERE))
from demo_server import DemoServer  # noqa: E402


def run(*command):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def example(work):
    """The example, built as a user does: knowing nothing but the folder the package was installed to."""
    prefix, source = work / "prefix", work / "example"
    for folder in (prefix, source):
        shutil.rmtree(folder, ignore_errors=True)
    run("cmake", "-S", CLIENT, "-B", work / "client", f"-DCMAKE_INSTALL_PREFIX={prefix}", "-DCMAKE_BUILD_TYPE=Release")
    run("cmake", "--build", work / "client")
    run("cmake", "--install", work / "client")
    installed = {str(path.relative_to(prefix)).split("/", 1)[0] for path in prefix.rglob("*") if path.is_file()}
    assert installed <= {"include", "lib", "lib64"}, installed
    shutil.copytree(CLIENT / "examples", source)
    run("cmake", "-S", source, "-B", work / "example_build", f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_BUILD_TYPE=Release")
    run("cmake", "--build", work / "example_build")
    return work / "example_build" / "tour"


def check(output, text):
    """Lines "name: value", where a value may go over several lines."""
    expected = [f"whole: {text}\n", f"stream: {text}\n", "left: CANCELLED\n", "refused: temperature\n", "late: DEADLINE_EXCEEDED\n"]
    missing = [line for line in expected if line not in output]
    assert not missing and output.startswith("model: demo, ") and ("chosen: yes\n" in output or "chosen: no\n" in output), \
        f"{missing} not in\n{output}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("binary", "model", "work"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    tour = example(options.work)
    with DemoServer(options.binary, options.model) as server:
        text = server.post("/v1/completions", {"prompt": "Once upon a time", "max_tokens": 40, "temperature": 0})
        check(run(tour, server.grpc), text["choices"][0]["text"])
        server.wait_until_idle()
        assert server.metric("foregate:grpc_calls_total", method="Generate", code="CANCELLED") >= 1
    nobody = subprocess.run([tour, "127.0.0.1:1"], capture_output=True, text=True)
    assert nobody.returncode == 1 and "UNAVAILABLE" in nobody.stderr, nobody.stderr
    print("the installed package works")


if __name__ == "__main__":
    main()
