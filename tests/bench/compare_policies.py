#!/usr/bin/env python3
"""Job completion times of scheduling policies on the same arrivals: an open loop of Poisson arrivals with answers of heavy-tailed
length, against one server for each policy, in turns. The rate is `--load` of what a closed loop of the same jobs reaches, measured
before each round under fcfs. Nobody may starve: `most_s` is the longest completion, `worst_slowdown` the most that a job took over
what it takes alone, of those whose time alone is not noise (64 tokens and more).

  compare_policies.py --binary build/foregate --model models/demo --load 0.8 --jobs 400
"""
import argparse
import asyncio
import json
import random
import statistics
import time

from serving import Server, body_of, closed_loop, open_loop, percentile

SLOW_FROM = 64  # tokens


def made_lengths(args, count, seed):
    draw = random.Random(seed)
    if args.lengths == "two":
        return [args.long if draw.random() < args.share_long else args.short for _ in range(count)]
    # Pareto within bounds, by its inverse.
    low, high = args.short ** -args.alpha, args.long ** -args.alpha
    return [round((low - draw.random() * (low - high)) ** (-1 / args.alpha)) for _ in range(count)]


def bodies_of(lengths):
    return [body_of(f"Story {number}: once upon a time", tokens) for number, tokens in enumerate(lengths)]


def serve(args, policy):
    return Server(args.binary, args.model, "--scheduling-policy", policy, "--max-num-seqs", args.width, "--max-num-queued-reqs", 100000,
                  "--mlfq-quantum", args.quantum, "--mlfq-promote-after", args.promote_after, "--threads", args.threads,
                  "--no-enable-prefix-caching")


def capacity(server, args, seed):
    """Jobs a second that a closed loop of as many clients as slots reaches, and seconds a token alone."""
    lengths = made_lengths(args, args.probe, seed)
    began = time.monotonic()
    asyncio.run(closed_loop(server.port, bodies_of(lengths), args.width))
    tokens_s = sum(lengths) / (time.monotonic() - began)
    began = time.monotonic()
    asyncio.run(closed_loop(server.port, bodies_of([256]), 1))
    return tokens_s, (time.monotonic() - began) / 256


async def watched(work):
    """What `work` gives, and the longest time for which this process did not run: a round with a long one says nothing."""
    task, longest, last = asyncio.ensure_future(work), 0.0, time.monotonic()
    while not task.done():
        await asyncio.sleep(0.02)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    return task.result(), longest


def run_policy(server, policy, jobs, alone_s):
    names = {"demotions": "foregate_policy_demotions_total", "promotions": "foregate_policy_promotions_total",
             "preemptions": "vllm:num_preemptions_total"}
    before = {name: server.metric(metric) for name, metric in names.items()}
    bodies = bodies_of([tokens for _, tokens in jobs])
    began = time.monotonic()
    answers, pause_s = asyncio.run(watched(open_loop(server.port, [(at, body, {}) for (at, _), body in zip(jobs, bodies)])))
    makespan = time.monotonic() - began
    bad = sum(not a.ok for a in answers)
    if bad:
        raise SystemExit(f"{policy}: {bad} jobs had no answer")
    times = [a.end for a in answers]
    slowdowns = [t / (tokens * alone_s) for t, (_, tokens) in zip(times, jobs) if tokens >= SLOW_FROM]
    figures = {"policy": policy, "n": len(jobs), "mean_s": round(statistics.mean(times), 4),
               "median_s": round(statistics.median(times), 4), "p99_s": round(percentile(times, 0.99), 3), "most_s": round(max(times), 3),
               "worst_slowdown": round(max(slowdowns, default=0), 1), "makespan_s": round(makespan, 1), "pause_s": round(pause_s, 2)}
    figures.update({name: server.metric(metric) - before[name] for name, metric in names.items()})
    return figures, [a.text for a in answers]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--policy", action="append")
    parser.add_argument("--load", type=float, default=0.8, help="of the capacity of a closed loop")
    parser.add_argument("--rate", type=float, default=0.0, help="arrivals a second; 0: by the load")
    parser.add_argument("--jobs", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--probe", type=int, default=150, help="jobs by which the capacity is measured")
    parser.add_argument("--lengths", choices=("pareto", "two"), default="pareto")
    parser.add_argument("--alpha", type=float, default=1.0, help="pareto: the smaller, the heavier the tail")
    parser.add_argument("--share-long", type=float, default=0.1, help="two: how many are long")
    parser.add_argument("--short", type=int, default=16, help="tokens of the shortest")
    parser.add_argument("--long", type=int, default=1900, help="tokens of the longest")
    parser.add_argument("--quantum", type=int, default=64, help="--mlfq-quantum")
    parser.add_argument("--promote-after", type=int, default=1024, help="--mlfq-promote-after")
    parser.add_argument("--width", type=int, default=4, help="--max-num-seqs of the servers")
    parser.add_argument("--threads", type=int, default=1, help="of the servers; the load needs the other core")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    policies = args.policy or ["fcfs", "mlfq"]
    servers = {policy: serve(args, policy) for policy in policies}
    try:
        for number in range(args.rounds):
            lengths = made_lengths(args, args.jobs, args.seed + number)
            tokens_s, alone_s = capacity(servers[policies[0]], args, args.seed + 1000)
            rate = args.rate or args.load * tokens_s * len(lengths) / sum(lengths)
            draw, at, jobs = random.Random(args.seed + number), 0.0, []
            for tokens in lengths:
                at += draw.expovariate(rate)
                jobs.append((at, tokens))
            results = {}
            for policy in policies if number % 2 == 0 else policies[::-1]:
                results[policy] = run_policy(servers[policy], policy, jobs, alone_s)
                print(json.dumps(results[policy][0]), flush=True)
            first, said = results[policies[0]]
            for policy in policies[1:]:
                figures, answers = results[policy]
                print(json.dumps({"round": number, "rate": round(rate, 2), "capacity_tokens_s": round(tokens_s), "same_answers": answers == said,
                                  **{f"{policies[0]}_over_{policy}_{name[:-2]}": round(first[name] / figures[name], 2)
                                     for name in ("mean_s", "median_s", "p99_s", "most_s")}}), flush=True)
    finally:
        for server in servers.values():
            server.stop()


if __name__ == "__main__":
    main()
