#!/usr/bin/env python3
"""Decode under a memory limit: `foregate bench` with experts on disk against llama.cpp's mmap of the same model, in turns.

Each run gets a memory control group of its own with a share of the GGUF file's size, page cache included, and begins
with the model's files dropped from the page cache (limit_memory.py; needs root). Ours is given the packed model and
finds its budget by itself (--expert-memory auto: the limit less dense weights, keys and values, and the reserve of
engine/runtime/expert_memory.h). llama.cpp maps the file and does not repack it, which would take memory that cannot be
paged; it runs once for each read-ahead of the disk, on which its page faults depend. Ours reads past the page cache.

    foregate pack olmoe-q4_0.gguf olmoe-packed
    compare_offload.py --foregate build/foregate --packed olmoe-packed --llama-batched-bench PATH --share 0.5 0.3 \\
      --read-ahead-kb 128 8192 --rounds 3 --json offload.json olmoe-q4_0.gguf
"""
import argparse
import json
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from compare_peers import cpu_name

OURS, PEER = "foregate", "llama.cpp mmap"
HERE = Path(__file__).resolve().parent
GRACE_SECONDS = 30  # for the limiter to end its child and remove the group


@dataclass
class Engine:
    name: str
    command: list
    files: Path  # of its model
    read_ahead_kb: int = 0  # 0: the disk's own
    failure: str = ""
    runs: list = field(default_factory=list)


def last_line(text):
    lines = [line for line in text.strip().split("\n") if line]
    return lines[-1] if lines else "no message"


def end(child):
    """Ends the limiter, with its own child, where it has not ended by itself."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.communicate(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def read_ours(text):
    """The figures of one decode test of `foregate bench -o json`."""
    row, = json.loads(text)
    if "expert_memory" not in row:  # all experts fitted
        return {"tokens_per_second": row["median_ts"], "limit_ts": row["limit_ts"], "hit_rate": 1.0, "disk_bytes_per_token": 0}
    return {"tokens_per_second": row["median_ts"], "limit_ts": row["limit_ts"], "hit_rate": row["expert_hit_rate"],
            "stall_share": row["expert_stall_share"], "slot_bytes": row["expert_slot_bytes"],
            "disk_gbps": row["disk_gbps"], "disk_bytes_per_token": row["expert_read_bytes_per_token"]}


def read_peer(text):
    """The figures of llama-batched-bench --output-format jsonl, which prints its log among them."""
    rows = [json.loads(line) for line in text.split("\n") if line.startswith("{")]
    row, = [row for row in rows if "speed_tg" in row]
    return {"tokens_per_second": row["speed_tg"], "tokens": row["tg"]}


def run_limited(engine, limit, options):
    """One run in a group of `limit` bytes; a failure is kept in the engine."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        read_ahead = ["--read-ahead-kb", str(engine.read_ahead_kb)] if engine.read_ahead_kb else []
        command = [sys.executable, "-B", str(options.limiter), "--bytes", str(limit), "--of", str(engine.files), *read_ahead,
                   "--report", str(report), "--", *engine.command]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
        try:
            out, errors = child.communicate(timeout=options.timeout)
        except subprocess.TimeoutExpired:
            engine.failure = f"took more than {options.timeout} s"
            return
        finally:
            end(child)
        if child.returncode != 0:
            engine.failure = f"exit {child.returncode}: {last_line(errors)}"
            return
        try:
            run = read_ours(out) if engine.name == OURS else read_peer(out)
            taken = json.loads(report.read_text())
            run["disk_read_bytes"], run["peak_bytes"] = taken["disk_read_bytes"], taken["peak_bytes"]
        except (ValueError, KeyError, TypeError, OSError) as error:
            engine.failure = f"unreadable output: {error!r}"
            return
    # The peer's pages come whenever they are missed: its load and warm-up are among them.
    run.setdefault("disk_bytes_per_token", run["disk_read_bytes"] / run.get("tokens", 1))
    engine.runs.append(run)


def median_of(runs, name):
    values = [run[name] for run in runs if run.get(name) is not None]
    return statistics.median(values) if values else None


def summary_of(engine, ours):
    """Figures as plain data; `ours_over` is the ratio of medians, its range that of equal rounds."""
    speeds = [run["tokens_per_second"] for run in engine.runs]
    figure = {"name": engine.name, "read_ahead_kb": engine.read_ahead_kb, "n": len(speeds), "median": statistics.median(speeds),
              "min": min(speeds), "max": max(speeds), "runs": engine.runs}
    for name in ("disk_bytes_per_token", "peak_bytes", "hit_rate", "stall_share", "disk_gbps", "slot_bytes"):
        if (value := median_of(engine.runs, name)) is not None:
            figure[name] = value
    if "limit_ts" in engine.runs[0]:
        figure["limit_ts"] = median_of(engine.runs, "limit_ts")
        figure["of_limit"] = statistics.median(run["tokens_per_second"] / run["limit_ts"] for run in engine.runs)
    if engine is not ours and ours.runs:
        pairs = [a["tokens_per_second"] / b["tokens_per_second"] for a, b in zip(ours.runs, engine.runs)]
        figure["ours_over"] = statistics.median(run["tokens_per_second"] for run in ours.runs) / figure["median"]
        figure["ours_over_min"], figure["ours_over_max"] = min(pairs), max(pairs)
    return figure


def make_engines(options):
    tokens, context = str(options.generate), str(options.prompt)
    ours = [options.foregate, "bench", str(options.packed), "-t", str(options.threads), "-p", "0", "-n", tokens, "-d", context,
            "-ub", "64", "-r", "1", "-o", "json", "--expert-memory", options.expert_memory, *shlex.split(options.foregate_args)]
    cells = max(512, options.prompt + options.generate)
    peer = [options.llama_batched_bench, "-m", str(options.model), "-t", str(options.threads), "-lm", "mmap", "--no-repack",
            "-c", str(cells), "-b", "64", "-ub", "64", "-npp", context, "-ntg", tokens, "-npl", "1", "--output-format", "jsonl",
            *shlex.split(options.llama_args)]
    return [Engine(OURS, ours, options.packed),
            *(Engine(PEER, peer, options.model, read_ahead) for read_ahead in options.read_ahead_kb)]


def compare(share, options):
    engines = make_engines(options)
    size = options.model.stat().st_size
    limit = int(share * size)
    for turn in range(options.rounds):
        for place in range(len(engines)):
            engine = engines[(place + turn) % len(engines)]
            if engine.failure:
                continue
            ahead = f", read-ahead {engine.read_ahead_kb} KiB" if engine.read_ahead_kb else ""
            print(f"{100 * share:.0f} %: round {turn + 1} of {options.rounds}, {engine.name}{ahead}", file=sys.stderr)
            run_limited(engine, limit, options)
    failures = {f"{e.name} {e.read_ahead_kb}" if e.read_ahead_kb else e.name: e.failure for e in engines if e.failure}
    return {"share": share, "limit_bytes": limit, "file_bytes": size, "failures": failures,
            "engines": [summary_of(engine, engines[0]) for engine in engines if engine.runs]}


def print_result(result):
    print(f"\n{100 * result['share']:.0f} % of {result['file_bytes'] / 1e9:.3f} GB: {result['limit_bytes'] / 1e9:.3f} GB\n")
    print("| program | read-ahead KiB | tokens/s, median | min - max | n | MB from disk per token | hit rate | of the bound "
          "| peak MB | ours over it (range) |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for figure in result["engines"]:
        hits = f"{100 * figure['hit_rate']:.1f} %" if "hit_rate" in figure else ""
        bound = f"{100 * figure['of_limit']:.0f} % of {figure['limit_ts']:.2f}" if "of_limit" in figure else ""
        peak = f"{figure['peak_bytes'] / 1e6:.0f}" if "peak_bytes" in figure else ""
        ratio = f"{figure['ours_over']:.2f} ({figure['ours_over_min']:.2f} - {figure['ours_over_max']:.2f})" \
            if "ours_over" in figure else ""
        print(f"| {figure['name']} | {figure['read_ahead_kb'] or ''} | {figure['median']:.2f} | {figure['min']:.2f} - "
              f"{figure['max']:.2f} | {figure['n']} | {figure['disk_bytes_per_token'] / 1e6:.1f} | {hits} | {bound} | {peak} "
              f"| {ratio} |")
    for name, failure in result["failures"].items():
        print(f"\n{name} failed: {failure}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL", help="GGUF file")
    parser.add_argument("--packed", type=Path, required=True, help="the same model, by `foregate pack`")
    parser.add_argument("--foregate", required=True, help="our program")
    parser.add_argument("--llama-batched-bench", required=True, help="llama.cpp's program")
    parser.add_argument("--foregate-args", default="", help="more arguments")
    parser.add_argument("--llama-args", default="", help="more arguments")
    parser.add_argument("--expert-memory", default="auto", help="ours: as foregate bench takes it (default: %(default)s)")
    parser.add_argument("--share", type=float, nargs="+", default=[0.5, 0.3], help="limits, of the GGUF file's size")
    parser.add_argument("--read-ahead-kb", type=int, nargs="+", default=[128], help="of the disk, for llama.cpp: a run each")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-p", "--prompt", type=int, default=8, help="tokens of context before decode")
    parser.add_argument("-n", "--generate", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each program at each limit")
    parser.add_argument("--timeout", type=int, default=900, help="seconds one run may take")
    parser.add_argument("--limiter", type=Path, default=HERE / "limit_memory.py", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="also write everything here")
    options = parser.parse_args()
    if options.rounds < 1 or options.generate < 1 or options.prompt < 1:
        parser.error("--rounds, --generate and --prompt must be at least 1")
    if not all(0 < share <= 10 for share in options.share) or any(kb < 1 for kb in options.read_ahead_kb):
        parser.error("--share must be above 0, --read-ahead-kb at least 1")
    for path in (options.model, options.packed):
        if not path.exists():
            parser.error(f"{path} does not exist")
    return options


def main():
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = []
    for share in options.share:
        results.append(compare(share, options))
        print_result(results[-1])
        if options.json:  # after each limit: a run takes minutes
            commands = {engine.name: engine.command for engine in make_engines(options)}
            report = {"cpu": cpu_name(), "model": str(options.model), "threads": options.threads, "rounds": options.rounds,
                      "commands": commands, "results": results}
            options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if any(result["failures"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
