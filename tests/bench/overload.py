#!/usr/bin/env python3
"""A server under more than it can do: open-loop Poisson arrivals at multiples of the rate that it holds, every request with
a deadline. Tells how many end within it against the held rate, how long a refusal takes, and what memory does.

The held rate is `--share` of what a closed loop of `--width` clients reaches. Lengths are drawn from `--trace`, Azure's CSV
(TIMESTAMP, ContextTokens, GeneratedTokens), scaled by `--scale` and bounded by the model; without one they are even."""
import argparse
import asyncio
import csv
import json
import random
import time

from serving import Server, body_of, closed_loop, open_loop, percentile, poisson, words


def lengths_of(args):
    if not args.trace:
        return [(16 + i % 33, 8 + i % 49) for i in range(200)]
    with open(args.trace, newline="") as file:
        rows = [(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in csv.DictReader(file)]
    return [(max(1, min(args.most, round(prompt * args.scale))), max(1, min(args.most, round(output * args.scale))))
            for prompt, output in rows]


def bodies_of(lengths, count, seed):
    draw = random.Random(seed)
    return [body_of(words(draw, prompt), output) for prompt, output in draw.choices(lengths, k=count)]


class Watch:
    """The most memory of a server while something runs."""

    def __init__(self, server):
        self.server, self.most = server, 0

    async def run(self, work):
        task = asyncio.ensure_future(work)
        while not task.done():
            self.most = max(self.most, self.server.rss())
            await asyncio.sleep(0.1)
        return task.result()


async def level(server, times, args):
    rate = times * args.held
    arrivals = poisson(rate, args.seconds, args.seed + int(10 * times))
    bodies = bodies_of(args.lengths, len(arrivals), args.seed)
    headers = {"X-Request-Timeout-Ms": round(args.deadline * 1000)}
    watch = Watch(server)
    answers = await watch.run(open_loop(server.port, [(at, body, headers) for at, body in zip(arrivals, bodies)]))
    refused = [a.end for a in answers if a.status in (429, 503)]
    in_time = sum(1 for a in answers if a.ok and a.end <= args.deadline)
    return {"load": times, "n": len(answers), "rate": round(rate, 1), "in_deadline_per_s": round(in_time / args.seconds, 2),
            "refused": len(refused), "late": sum(1 for a in answers if a.status == 504 or (a.ok and a.end > args.deadline) or
                                                 (a.status == 200 and not a.ok)),
            "other": sum(1 for a in answers if a.status not in (200, 429, 503, 504)),
            "refusal_p99_ms": round(1000 * percentile(refused, 0.99), 1) if refused else None,
            "refusal_p50_ms": round(1000 * percentile(refused, 0.5), 1) if refused else None,
            "most_rss_mib": round(watch.most / 2**20, 1)}


async def measure(server, args):
    bodies = bodies_of(args.lengths, args.probe, args.seed + 1)
    await closed_loop(server.port, bodies[: args.probe // 4], args.width)
    began = time.monotonic()
    await closed_loop(server.port, bodies, args.width)
    args.held = args.share * len(bodies) / (time.monotonic() - began)
    first = None
    for times in [1.0, *args.load]:
        figures = await level(server, times, args)
        first = first or figures
        figures["over_1x"] = round(figures["in_deadline_per_s"] / max(first["in_deadline_per_s"], 1e-9), 3)
        figures["rss_over_1x"] = round(figures["most_rss_mib"] / first["most_rss_mib"], 3)
        print(json.dumps(figures), flush=True)
        await asyncio.sleep(1.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--trace")
    parser.add_argument("--scale", type=float, default=0.1, help="of the lengths of the trace")
    parser.add_argument("--most", type=int, default=200, help="words of a prompt, tokens of an answer")
    parser.add_argument("--load", type=float, nargs="+", default=[2.0, 5.0, 10.0])
    parser.add_argument("--share", type=float, default=0.8, help="of the closed loop's rate that counts as held")
    parser.add_argument("--seconds", type=float, default=15.0, help="of arrivals at each load")
    parser.add_argument("--deadline", type=float, default=3.0, help="seconds")
    parser.add_argument("--width", type=int, default=16, help="clients of the closed loop, sequences of a step")
    parser.add_argument("--queue", type=int, default=32, help="--max-num-queued-reqs")
    parser.add_argument("--probe", type=int, default=200, help="requests of the closed loop")
    parser.add_argument("--threads", type=int, default=1, help="of the server; the load needs the other core")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.lengths = lengths_of(args)
    server = Server(args.binary, args.model, "--threads", args.threads, "--max-num-seqs", args.width, "--max-num-queued-reqs",
                    args.queue, "--max-connections", 8192)
    try:
        asyncio.run(measure(server, args))
    finally:
        server.stop()


if __name__ == "__main__":
    main()
