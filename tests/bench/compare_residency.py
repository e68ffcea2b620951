#!/usr/bin/env python3
"""Decode with a part of the experts in memory: the store as it is by default against the least one can do, experts read
when they are needed and the least recently used given up (--expert-policy lru --lookahead off), in turns.

Beside the speeds stand the hit rates that a replay of the model's own routing gives: of both policies, and of Belady's,
which knows the future and bounds every policy. The trace for that is recorded first, with all experts in memory.

    foregate pack --shape olmoe-1b-7b --quantization q4_0 --skew 1 skewed
    compare_residency.py --foregate build/foregate --share 25 50 75 --rounds 5 --json residency.json uniform skewed
"""
import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from compare_peers import cpu_name

OURS, LRU = "as it is", "lru on demand"
FLAGS = {OURS: [], LRU: ["--expert-policy", "lru", "--lookahead", "off"]}
POLICIES = ("lru", "auto", "belady")
PROMPTS = ["the sea and the hills", "a letter to the king", "when the rain came", "of stones and rivers", "one more day"]


class Failed(Exception):
    pass


def run(command, options):
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=options.timeout)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{command[1]} took more than {options.timeout} s") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.split("\n") if line] or ["no message"]
        raise Failed(f"{command[1]}: exit {done.returncode}: {lines[-1]}")
    return done.stdout


def bench(model, share, name, options):
    """The figures of one decode run."""
    row, = json.loads(run([options.foregate, "bench", model, "-t", options.threads, "-p", 0, "-n", options.generate, "-d",
                           options.depth, "-ub", 64, "-r", 1, "-o", "json", "--expert-memory", f"{share}%", *FLAGS[name]], options))
    keys = ("median_ts", "limit_ts", "expert_hit_rate", "expert_read_bytes_per_token", "expert_stall_share", "disk_gbps",
            "expert_policy_now", "expert_hint_bytes", "expert_hint_wasted_bytes")
    return {key: row[key] for key in keys}


def replay(model, options):
    """Hit rates of policies by (share, policy), from a trace of this model, begun with nothing in memory."""
    with tempfile.TemporaryDirectory() as folder:
        prompts, trace = Path(folder) / "prompts", Path(folder) / "trace"
        prompts.write_text("\n".join(PROMPTS))
        run([options.foregate, "trace", "record", model, trace, "--prompts", prompts, "--parallel", 1, "-n", options.traced,
             "--temperature", 1, "-t", options.threads], options)
        shares = ",".join(f"{share}%" for share in options.share)
        report = json.loads(run([options.foregate, "trace", "replay", trace, "--policy", ",".join(POLICIES), "--budget", shares,
                                 "--start", "cold", "-o", "json"], options))
    return {(int(line["budget"].rstrip("%")), line["policy"]): line["hit_rate"] for line in report["replays"]}


def summary(runs):
    median = {key: statistics.median(run[key] for run in runs) for key in runs[0] if key != "expert_policy_now"}
    speeds = [run["median_ts"] for run in runs]
    return {"median": median["median_ts"], "min": min(speeds), "max": max(speeds), "hit_rate": median["expert_hit_rate"],
            "mb_per_token": median["expert_read_bytes_per_token"] * 1e-6, "stall_share": median["expert_stall_share"],
            "of_limit": statistics.median(run["median_ts"] / run["limit_ts"] for run in runs), "runs": runs}


def compare(model, share, options):
    runs = {OURS: [], LRU: []}
    for turn in range(options.rounds):
        for name in (OURS, LRU) if turn % 2 == 0 else (LRU, OURS):
            print(f"{model}, {share} %: round {turn + 1} of {options.rounds}, {name}", file=sys.stderr)
            runs[name].append(bench(model, share, name, options))
    pairs = [a["median_ts"] / b["median_ts"] for a, b in zip(runs[OURS], runs[LRU])]
    figures = {name: summary(of) for name, of in runs.items()}
    return {"share": share, "engines": figures, "ratio": figures[OURS]["median"] / figures[LRU]["median"],
            "pair_median": statistics.median(pairs), "pair_min": min(pairs), "pair_max": max(pairs)}


def print_results(model, results):
    print(f"\n{model}\n")
    print("| in memory | program | tokens/s, median | min - max | n | hit rate | replayed | Belady | MB read per token | of the bound "
          "| over lru, pairs |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for result in results:
        for name, policy in ((OURS, "auto"), (LRU, "lru")):
            figure, hits = result["engines"][name], result["replayed"]
            ratio = f"{result['pair_median']:.2f} ({result['pair_min']:.2f} - {result['pair_max']:.2f})" if name == OURS else ""
            print(f"| {result['share']} % | {name} | {figure['median']:.2f} | {figure['min']:.2f} - {figure['max']:.2f} "
                  f"| {len(figure['runs'])} | {100 * figure['hit_rate']:.1f} % | {100 * hits[policy]:.1f} % "
                  f"| {100 * hits['belady']:.1f} % | {figure['mb_per_token']:.1f} | {100 * figure['of_limit']:.0f} % | {ratio} |")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", metavar="PACKED", help="packed model directory")
    parser.add_argument("--foregate", required=True, help="our program")
    parser.add_argument("--share", type=int, nargs="+", default=[25, 50, 75], help="per cent of the experts in memory")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-n", "--generate", type=int, default=32)
    parser.add_argument("-d", "--depth", type=int, default=64, help="tokens of context, from which uses are counted")
    parser.add_argument("--traced", type=int, default=64, help="tokens of each of the recorded texts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--timeout", type=int, default=300, help="seconds one run may take")
    parser.add_argument("--json", type=Path, help="also write everything here")
    options = parser.parse_args()
    if options.rounds < 1 or options.generate < 1 or not all(0 < share <= 100 for share in options.share):
        parser.error("--rounds and --generate must be at least 1, --share from 1 to 100")
    return options


def main():
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = {"cpu": cpu_name(), "threads": options.threads, "rounds": options.rounds, "models": {}}
    for model in options.models:
        try:
            hits = replay(model, options)
            results = [compare(model, share, options) for share in options.share]
        except (Failed, ValueError, KeyError) as error:
            print(f"{model} failed: {error}", file=sys.stderr)
            return 1
        for result in results:
            result["replayed"] = {policy: hits[result["share"], policy] for policy in POLICIES}
        report["models"][str(model)] = results
        print_results(model, results)
        if options.json:  # after each model: a run takes minutes
            options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
