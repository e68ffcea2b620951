#!/usr/bin/env python3
"""Continuous batching over static batches, on the same arrivals: one server, its slots filled as they come free, against
batches of as many requests as there are slots, each begun when the one before has ended and its requests have arrived.
Lengths of answers are exponential within bounds, as uneven as Flover's."""
import argparse
import asyncio
import json
import random
import time

from serving import Server, ask, body_of, poisson, words


def made_jobs(args):
    draw = random.Random(args.seed)
    times = poisson(args.rate, args.jobs / args.rate * 10, args.seed)[: args.jobs]
    return [(at, body_of(words(draw, 12), max(1, min(args.most, round(draw.expovariate(1 / args.mean)))))) for at in times]


async def continuous(port, jobs, start):
    async def one(at, body):
        await asyncio.sleep(max(0.0, start + at - time.monotonic()))
        return await ask(port, body)
    return await asyncio.gather(*(one(*job) for job in jobs))


async def static(port, jobs, start, width):
    answers = []
    for first in range(0, len(jobs), width):
        batch = jobs[first:first + width]
        await asyncio.sleep(max(0.0, start + batch[-1][0] - time.monotonic()))
        answers += await asyncio.gather(*(ask(port, body) for _, body in batch))
    return answers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--jobs", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1000.0, help="arrivals a second: by default faster than any server")
    parser.add_argument("--mean", type=float, default=60, help="tokens of an answer")
    parser.add_argument("--most", type=int, default=480)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    jobs, texts = made_jobs(args), None
    server = Server(args.binary, args.model, "--max-num-seqs", args.width, "--max-num-queued-reqs", 100000)
    try:
        for round_number in range(args.rounds):
            rates = {}
            for name in ("static", "continuous") if round_number % 2 else ("continuous", "static"):
                start = time.monotonic() + 0.2
                run = continuous(server.port, jobs, start) if name == "continuous" else static(server.port, jobs, start, args.width)
                answers = asyncio.run(run)
                rates[name] = sum(a.tokens for a in answers) / (time.monotonic() - start)
                got = [a.text for a in answers]
                texts = texts or got
                if not all(a.ok for a in answers) or got != texts:
                    raise SystemExit(f"{name}: answers are missing or differ")
            print(json.dumps({"jobs": len(jobs), "tokens": sum(body["max_tokens"] for _, body in jobs), "same_answers": True,
                              **{f"{name}_tokens_s": round(rate, 1) for name, rate in rates.items()},
                              "ratio": round(rates["continuous"] / rates["static"], 2)}), flush=True)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
