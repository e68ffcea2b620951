#!/usr/bin/env python3
"""Runs `foregate bench` and the llama-bench of peers on the same GGUF files, in turns, and compares medians.

Each round starts every program once on a model, in an order that rotates, so that a machine that slows down slows all.
A peer's program is given by path; one that fails (an architecture it does not know) is reported and left out.
Tests are named as llama-bench does: pp512 is prefill of 512 tokens, tg128 decode of 128.

    compare_peers.py --foregate build/foregate --llama-bench PATH --ik-llama-bench PATH --rounds 5 --json out.json MODEL...
"""
import argparse
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

OURS = "foregate"
LIMIT_FIELD = "limit_ts"  # the tokens/s that memory or arithmetic allows, as ours measured it just before


@dataclass
class Engine:
    name: str
    command: list  # without the model
    failure: str = ""


@dataclass
class Samples:
    """Figures of one engine on one test: one entry per timed repetition."""
    tokens_per_second: list = field(default_factory=list)
    limits: list = field(default_factory=list)


def run_measured(command, timeout):
    """(exit code, stdout, stderr, peak RSS in MiB) of a program run to its end, or killed after `timeout` seconds."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=out, stderr=errors)
        timer = threading.Timer(timeout, child.kill)
        timer.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        finally:
            timer.cancel()
            child.kill()  # when this script is ended first; else it does nothing
        out.seek(0)
        errors.seek(0)
        return (child.returncode, out.read().decode(errors="replace"), errors.read().decode(errors="replace"),
                usage.ru_maxrss / 1024)


def test_name(row):
    prompt, generated, depth = row["n_prompt"], row["n_gen"], row.get("n_depth", 0)
    parts = [f"pp{prompt}"] if prompt else []
    parts += [f"tg{generated}"] if generated else []
    return "+".join(parts) + (f" @ d{depth}" if depth else "")


def read_rows(text):
    """The rows of `-o json`: the list itself, or the list under "results"."""
    report = json.loads(text)
    rows = report["results"] if isinstance(report, dict) else report
    if not isinstance(rows, list) or not rows:
        raise ValueError("no results in the JSON")
    return rows


def run_engine(engine, model, timeout, samples, peaks):
    """Adds one run's figures to samples[test][engine] and peaks[engine]; a failure is kept in the engine."""
    code, out, errors, peak = run_measured([*engine.command, "-m", str(model)], timeout)
    if code != 0:
        lines = [line for line in errors.strip().split("\n") if line]
        engine.failure = f"exit {code}: {lines[-1] if lines else 'no message'}"
        return
    try:
        for row in read_rows(out):
            kept = samples.setdefault(test_name(row), {}).setdefault(engine.name, Samples())
            kept.tokens_per_second += row.get("samples_ts") or [row["avg_ts"]]
            if LIMIT_FIELD in row:
                kept.limits.append(row[LIMIT_FIELD])
            # Ours may have begun its peak anew after measuring a limit; the row knows the one before.
            peak = max(peak, row.get("peak_rss_bytes", 0) / 2**20)
    except (ValueError, KeyError, TypeError) as error:
        engine.failure = f"unreadable output: {error!r}"
        return
    peaks[engine.name] = max(peaks.get(engine.name, 0.0), peak)


def compare_test(name, by_engine):
    """The figures of one test as plain data; `ours_over` is the ratio of medians, its range that of equal repetitions."""
    figures = {}
    ours = by_engine.get(OURS)
    for engine, kept in by_engine.items():
        values = kept.tokens_per_second
        figure = {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values),
                  "samples_ts": values}
        if kept.limits:
            figure["limit_ts"] = statistics.median(kept.limits)
            figure["of_limit"] = figure["median"] / figure["limit_ts"]
        if ours and engine != OURS:
            pairs = [a / b for a, b in zip(ours.tokens_per_second, values)]
            figure["ours_over"] = statistics.median(ours.tokens_per_second) / figure["median"]
            figure["ours_over_min"], figure["ours_over_max"] = min(pairs), max(pairs)
        figures[engine] = figure
    return {"test": name, "engines": figures}


def compare_model(model, engines, options):
    samples, peaks = {}, {}
    for engine in engines:
        engine.failure = ""
    for turn in range(options.rounds):
        for place in range(len(engines)):
            engine = engines[(place + turn) % len(engines)]
            if engine.failure:
                continue
            print(f"{model.name}: round {turn + 1} of {options.rounds}, {engine.name}", file=sys.stderr)
            run_engine(engine, model, options.timeout, samples, peaks)
    size = model.stat().st_size
    return {"model": str(model), "file_bytes": size,
            "tests": [compare_test(name, by_engine) for name, by_engine in samples.items()],
            "peak_rss_mib": peaks, "rss_over_file": {k: v * 2**20 / size for k, v in peaks.items()},
            "failures": {engine.name: engine.failure for engine in engines if engine.failure}}


def print_model(result):
    print(f"\n{Path(result['model']).name}, {result['file_bytes'] / 1e9:.3f} GB\n")
    print("| test | program | tokens/s, median | min - max | n | of the limit | ours over it (range) |")
    print("|---|---|---|---|---|---|---|")
    for test in result["tests"]:
        for engine, figure in test["engines"].items():
            limit = f"{100 * figure['of_limit']:.0f} % of {figure['limit_ts']:.1f}" if "of_limit" in figure else ""
            ratio = ""
            if "ours_over" in figure:
                ratio = f"{figure['ours_over']:.2f} ({figure['ours_over_min']:.2f} - {figure['ours_over_max']:.2f})"
            print(f"| {test['test']} | {engine} | {figure['median']:.2f} | {figure['min']:.2f} - {figure['max']:.2f} "
                  f"| {figure['n']} | {limit} | {ratio} |")
    for engine, peak in result["peak_rss_mib"].items():
        print(f"\npeak RSS {engine}: {peak:.0f} MiB, {result['rss_over_file'][engine]:.3f} of the file")
    for engine, failure in result["failures"].items():
        print(f"\n{engine} failed: {failure}")


def make_engines(options):
    common = ["-t", str(options.threads), "-p", str(options.prompt), "-n", str(options.generate), "-r",
              str(options.repetitions), "-o", "json"]
    engines = []
    if options.foregate:
        engines.append(Engine(OURS, [options.foregate, "bench", *common, *shlex.split(options.foregate_args)]))
    if options.llama_bench:
        engines.append(Engine("llama.cpp", [options.llama_bench, *common, *shlex.split(options.llama_args)]))
    if options.ik_llama_bench:
        engines.append(Engine("ik_llama.cpp", [options.ik_llama_bench, *common, *shlex.split(options.ik_args)]))
    return engines


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().split("\n"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="GGUF files")
    parser.add_argument("--foregate", help="our program")
    parser.add_argument("--llama-bench", help="llama.cpp's program")
    parser.add_argument("--ik-llama-bench", help="ik_llama.cpp's program")
    parser.add_argument("--foregate-args", default="-b 1", help="more arguments (default: %(default)s)")
    parser.add_argument("--llama-args", default="-lm none", help="more arguments; the default reads weights into memory")
    parser.add_argument("--ik-args", default="-mmp 0 -rtr 1", help="more arguments; the default repacks at run time")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--generate", type=int, default=128)
    parser.add_argument("-r", "--repetitions", type=int, default=1, help="timed repetitions of each run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each program")
    parser.add_argument("--timeout", type=int, default=600, help="seconds one run may take")
    parser.add_argument("--json", type=Path, help="also write everything here")
    options = parser.parse_args()
    if options.rounds < 1 or options.repetitions < 1:
        parser.error("--rounds and --repetitions must be at least 1")
    if not (options.foregate or options.llama_bench or options.ik_llama_bench):
        parser.error("give at least one program")
    return options


def main():
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    engines = make_engines(options)
    results, failed = [], False
    for model in options.models:
        if not model.is_file():
            print(f"compare_peers: {model} is no file", file=sys.stderr)
            return 2
        results.append(compare_model(model, engines, options))
        print_model(results[-1])
        failed = failed or bool(results[-1]["failures"])
    if options.json:
        report = {"cpu": cpu_name(), "threads": options.threads, "rounds": options.rounds,
                  "commands": {engine.name: engine.command for engine in engines}, "models": results}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
