#!/usr/bin/env python3
"""Offline batches against the online order, with a share of a packed model's experts in memory: bytes of experts read for a
token, tokens a second, and that the answers are the same bytes.

  online-N   lines in their order, N at a time, as `foregate serve` would answer N clients: --no-throughput
  batch-N    N at a time, asked by what they begin with; -plain: without sweeps
  batch      as many as memory allows

With --memory LINES it runs so many short lines through `foregate batch` instead and tells what its memory does meanwhile."""
import argparse
import json
import os
import random
import re
import subprocess
import tempfile
import time
from pathlib import Path

WORDS = "fox river stone cloud little house walked said and the".split()


def made_lines(args, count):
    """Lines of token ids; some prompts begin alike, in mixed order."""
    draw = random.Random(args.seed)
    shared = [[draw.randrange(10, args.vocab) for _ in range(args.prompt // 2)] for _ in range(max(1, count // 8))]
    lines = []
    for number in range(count):
        prompt = draw.choice(shared) + [draw.randrange(10, args.vocab) for _ in range(args.prompt - args.prompt // 2)]
        body = {"prompt": prompt, "max_tokens": args.tokens, "ignore_eos": True, "temperature": 0}
        lines.append(json.dumps({"custom_id": f"line-{number}", "method": "POST", "url": "/v1/completions", "body": body}))
    return "\n".join(lines)


def flags_of(way, args):
    name, _, rest = way.partition("-")
    number, _, plain = rest.partition("-")
    flags = ["--no-throughput", "--no-expert-sweep"] if name == "online" else []
    return flags + (["--max-num-seqs", number] if number else []) + (["--no-expert-sweep"] if plain else [])


def run(args, way, lines, work):
    out = work / "out.jsonl"
    out.unlink(missing_ok=True)
    command = [args.foregate, "batch", args.model, "-i", lines, "-o", out, "--expert-memory", f"{args.share}%", "--log-level", "error",
               "--no-expert-warm", "-c", str(args.context), *flags_of(way, args), *args.flags]
    began = time.monotonic()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    read = re.search(r"experts: ([\d.]+) GB read, ([\d.]+) MB for each token and ([\d.]+) MB for each completion token; ([\d.]+) % found in "
                     r"memory, (\d+) layers swept, (\d+) loads repeated", done.stderr)
    speed = re.search(r"(\d+) prompt and (\d+) completion tokens in ([\d.]+) s", done.stderr)
    steps = re.search(r"(\d+) steps, ([\d.]+) completion tokens each; ([\d.]+) %", done.stderr)
    prompt, completion, seconds = int(speed[1]), int(speed[2]), float(speed[3])
    figures = {"way": way, "gb_read": float(read[1]), "mb_per_token": float(read[2]), "mb_per_completion_token": float(read[3]),
               "hits_percent": float(read[4]), "layers_swept": int(read[5]), "repeated_loads": int(read[6]),
               "steps": int(steps[1]), "completion_tokens_per_step": float(steps[2]), "prefix_hits_percent": float(steps[3]),
               "tokens_s": round((prompt + completion) / seconds, 1), "seconds": seconds, "whole_seconds": round(time.monotonic() - began, 1)}
    return figures, out.read_bytes()


def compare(args, work):
    lines = work / "in.jsonl"
    lines.write_text(made_lines(args, args.requests))
    os.utime(lines, (0, 0))
    first = answers = None
    for number in range(args.rounds):
        for way in args.ways[::-1] if number % 2 else args.ways:
            figures, got = run(args, way, lines, work)
            answers = answers or got
            figures["same_answers"] = got == answers
            if way == args.ways[0]:
                first = figures
            if first:
                figures["bytes_over_first"] = round(figures["mb_per_token"] / first["mb_per_token"], 3)
                figures["tokens_s_over_first"] = round(figures["tokens_s"] / first["tokens_s"], 2)
            print(json.dumps(figures), flush=True)


def resident(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return None


def memory(args, work):
    draw, lines, out = random.Random(args.seed), work / "in.jsonl", work / "out.jsonl"
    with lines.open("w") as file:
        for number in range(args.memory):
            text = " ".join(draw.choice(WORDS) for _ in range(draw.randrange(3, 12)))
            body = {"prompt": f"{text} {number}", "max_tokens": draw.randrange(1, 9), "ignore_eos": True}
            file.write(json.dumps({"custom_id": f"line-{number}", "method": "POST", "url": "/v1/completions", "body": body}) + "\n")
    command = [args.foregate, "batch", args.model, "-i", lines, "-o", out, "--log-level", "error", *args.flags]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    points, seen, position = [], 0, 0
    while process.poll() is None:
        time.sleep(0.02)
        if out.exists():
            with out.open("rb") as file:
                file.seek(position)
                fresh = file.read()
            position += len(fresh)
            seen += fresh.count(b"\n")
        try:
            now = resident(process.pid)
        except FileNotFoundError:
            break
        if now is not None and seen > 0:
            points.append((seen, now))
    said = process.stderr.read()
    if process.returncode != 0:
        raise SystemExit(said)

    def at(share):
        return next((mib for count, mib in points if count >= share * args.memory), None)

    first, half = at(0.1), at(0.5)  # none: the run was over before its answers were there to see
    most = max((mib for count, mib in points if count >= 0.1 * args.memory), default=None)
    print(json.dumps({"lines": args.memory, "looks": len(points), "rss_mib_at_10_percent": first and round(first, 1),
                      "rss_mib_at_50_percent": half and round(half, 1), "rss_mib_most_later": most and round(most, 1),
                      "growth_from_10_percent": first and round(most / first - 1, 4), "said": said.splitlines()[:3]}),
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--foregate", required=True)
    parser.add_argument("--share", type=float, default=25, help="percent of the experts in memory")
    parser.add_argument("--ways", nargs="+", default=["online-1", "online-8", "batch-64-plain", "batch-64", "batch"])
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=32, help="tokens")
    parser.add_argument("--tokens", type=int, default=16, help="of each answer")
    parser.add_argument("--vocab", type=int, default=50000)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory", type=int, default=0, metavar="LINES")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="further words of every run, at the end")
    parser.add_argument("model")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        memory(args, Path(work)) if args.memory else compare(args, Path(work))


if __name__ == "__main__":
    main()
