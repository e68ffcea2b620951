#!/usr/bin/env python3
"""Continuous batching over static batches, on the same arrivals and with as many slots: one server whose slots are filled as they
come free, against batches of as many requests as there are slots, each begun when the one before has ended and its requests
have arrived. Static batches come in two forms: `padded`, as programs without continuous batching run them (every row is
computed until the longest has ended; what is behind a row's own end counts for nothing), and `ragged`, whose rows leave as they
end, so that only their places stay empty. Tokens that were asked for count, no others.

Lengths are exponential within bounds, as uneven as Flover's, or `--lengths one-long`: one of eight is long. The bounds are what
the machine allows: the same schedules with the step's cost at each width, measured first, and nothing else."""
import argparse
import asyncio
import heapq
import json
import random
import statistics
import time

from serving import Server, ask, body_of, closed_loop, poisson, words

FORMS = ("continuous", "ragged", "padded")


def made_lengths(args, draw):
    if args.lengths == "one-long":
        return [args.most if draw.random() < args.share_long else args.short for _ in range(args.jobs)]
    return [max(1, min(args.most, round(draw.expovariate(1 / args.mean)))) for _ in range(args.jobs)]


def made_jobs(args):
    draw = random.Random(args.seed)
    times = poisson(args.rate, args.jobs / args.rate * 10, args.seed)[: args.jobs]
    return [(at, words(draw, 12), length) for at, length in zip(times, made_lengths(args, draw))]


async def continuous(port, jobs, start):
    async def one(at, prompt, length):
        await asyncio.sleep(max(0.0, start + at - time.monotonic()))
        return await ask(port, body_of(prompt, length))
    return await asyncio.gather(*(one(*job) for job in jobs))


async def static(port, jobs, start, width, padded):
    answers = []
    for first in range(0, len(jobs), width):
        batch = jobs[first:first + width]
        longest = max(length for _, _, length in batch)
        await asyncio.sleep(max(0.0, start + batch[-1][0] - time.monotonic()))
        answers += await asyncio.gather(*(ask(port, body_of(prompt, longest if padded else length)) for _, prompt, length in batch))
    return answers


async def step_costs(port, widths, args):
    """Seconds of a decode step by rows: equal answers side by side, long ones less short ones of the same prompts."""
    draw, costs = random.Random(args.seed), {}
    for width in widths:
        took = []
        for _ in range(3):
            prompts, ends = [words(draw, 12) for _ in range(width)], []
            for tokens in (args.cost_tokens // 8, args.cost_tokens):
                began = time.monotonic()
                await closed_loop(port, [body_of(prompt, tokens) for prompt in prompts], width)
                ends.append(time.monotonic() - began)
            took.append((ends[1] - ends[0]) / (args.cost_tokens - args.cost_tokens // 8))
        costs[width] = max(statistics.median(took), 1e-6)
    return costs


def cost_of(costs, rows):
    """Between the measured widths on straight lines."""
    known = sorted(costs)
    if rows <= known[0]:
        return costs[known[0]]
    for low, high in zip(known, known[1:]):
        if rows <= high:
            return costs[low] + (costs[high] - costs[low]) * (rows - low) / (high - low)
    return costs[known[-1]]


def bounds(lengths, width, costs):
    """Seconds that each form takes if steps are all that it does."""
    seconds = dict.fromkeys(FORMS, 0.0)
    for first in range(0, len(lengths), width):
        batch = sorted(lengths[first:first + width])
        seconds["padded"] += batch[-1] * cost_of(costs, len(batch))
        for index, length in enumerate(batch):
            seconds["ragged"] += (length - (batch[index - 1] if index else 0)) * cost_of(costs, len(batch) - index)
    left, running, step = list(lengths)[::-1], [], 0
    while left or running:
        while left and len(running) < width:
            heapq.heappush(running, step + left.pop())
        end = running[0]
        seconds["continuous"] += (end - step) * cost_of(costs, len(running))
        step = end
        while running and running[0] == end:
            heapq.heappop(running)
    return seconds


def run_form(form, server, jobs, args):
    start = time.monotonic() + 0.2
    answers = asyncio.run(continuous(server.port, jobs, start) if form == "continuous" else
                          static(server.port, jobs, start, args.width, form == "padded"))
    seconds = time.monotonic() - start
    if not all(a.ok for a in answers):
        raise SystemExit(f"{form}: answers are missing")
    return seconds, [a.text for a in answers]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--jobs", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1000.0, help="arrivals a second: by default faster than any server")
    parser.add_argument("--lengths", choices=("exponential", "one-long"), default="exponential")
    parser.add_argument("--mean", type=float, default=60, help="tokens of an answer, exponential")
    parser.add_argument("--most", type=int, default=480, help="of the longest")
    parser.add_argument("--short", type=int, default=16, help="one-long: tokens of the others")
    parser.add_argument("--share-long", type=float, default=0.125, help="one-long: how many are long")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cost-tokens", type=int, default=160, help="of the answers by which steps are measured")
    parser.add_argument("--threads", type=int, default=0, help="of the server; 0 = one per core")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    jobs, texts = made_jobs(args), None
    lengths = [length for _, _, length in jobs]
    server = Server(args.binary, args.model, "--max-num-seqs", args.width, "--max-num-queued-reqs", 100000, "--threads", args.threads)
    try:
        widths = sorted({1, *(w for w in (2, 4, 8, 16, 32, 64) if w < args.width), args.width})
        costs = asyncio.run(step_costs(server.port, widths, args))
        bound = bounds(lengths, args.width, costs)
        for number in range(args.rounds):
            rates = {}
            for form in FORMS if number % 2 == 0 else ("continuous", "padded", "ragged"):
                seconds, got = run_form(form, server, jobs, args)
                rates[form] = sum(lengths) / seconds
                texts = texts or got
                if not all(text.startswith(wanted) if form == "padded" else text == wanted for text, wanted in zip(got, texts)):
                    raise SystemExit(f"{form}: answers differ")
            print(json.dumps({"jobs": len(jobs), "tokens": sum(lengths), "longest": max(lengths), "same_answers": True,
                              **{f"{form}_tokens_s": round(rate, 1) for form, rate in rates.items()},
                              **{f"over_{form}": round(rates["continuous"] / rates[form], 2) for form in FORMS[1:]},
                              **{f"bound_over_{form}": round(bound[form] / bound["continuous"], 2) for form in FORMS[1:]},
                              "step_us": {width: round(1e6 * cost) for width, cost in costs.items()}}), flush=True)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
