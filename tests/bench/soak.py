#!/usr/bin/env python3
"""A server for a while at a share of what it can do, a tenth of the clients leaving early: the slope of its memory after warming
up, and that everything is free at the end."""
import argparse
import asyncio
import json
import random
import time

from serving import Server, ask, body_of, closed_loop, poisson, words


def bodies(draw, count):
    return [body_of(words(draw, draw.randrange(4, 60)), draw.randrange(4, 80)) for _ in range(count)]


async def leaves(port, body, seconds):
    try:
        await ask(port, body, limit_s=seconds)
    except asyncio.CancelledError:
        pass


def slope(points):
    """Of a line through (hours, bytes), least squares."""
    n, x, y = len(points), sum(p[0] for p in points), sum(p[1] for p in points)
    xx, xy = sum(p[0] * p[0] for p in points), sum(p[0] * p[1] for p in points)
    return (n * xy - x * y) / (n * xx - x * x)


async def measure(server, args):
    draw = random.Random(args.seed)
    probe = bodies(draw, 300)
    began = time.monotonic()
    await closed_loop(server.port, probe, args.width)
    rate = args.rate or args.share * len(probe) / (time.monotonic() - began)
    seconds = 60 * args.minutes
    arrivals = poisson(rate, seconds, args.seed)
    start, points, open_tasks, cancelled = time.monotonic(), [], set(), 0
    next_look, paused, log = start, 0.0, open(args.points, "w") if args.points else None
    for at, body in zip(arrivals, bodies(draw, len(arrivals))):
        await asyncio.sleep(max(0.0, start + at - time.monotonic()))
        late = time.monotonic() - start - at
        if late > 1.0:  # this process did not run; what it missed is not made up for at once
            start, paused = start + late, paused + late
        early = draw.random() < args.cancels
        cancelled += early
        task = asyncio.ensure_future(leaves(server.port, body, draw.uniform(0, 0.05)) if early else ask(server.port, body))
        open_tasks.add(task)
        task.add_done_callback(open_tasks.discard)
        if time.monotonic() >= next_look:
            points.append((time.monotonic() - start, server.rss()))
            next_look = time.monotonic() + 1.0
            if log:
                print(*points[-1], len(open_tasks), file=log, flush=True)
    await asyncio.gather(*open_tasks)
    await asyncio.sleep(1.0)
    stats = server.stats()
    settled = [(s / 3600, rss) for s, rss in points if s >= seconds * args.warm_share]
    return {"minutes": args.minutes, "rate": round(rate, 1), "requests": len(arrivals), "cancelled": cancelled,
            "paused_s": round(paused, 1),
            "rss_mib_first": round(points[0][1] / 2**20, 2), "rss_mib_settled": round(settled[0][1] / 2**20, 2),
            "rss_mib_last": round(points[-1][1] / 2**20, 2), "slope_mib_per_hour": round(slope(settled) / 2**20, 2),
            "kv_blocks_used_at_end": stats["kv_blocks_used"], "running_at_end": stats["running"] + stats["waiting"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--minutes", type=float, default=2.5)
    parser.add_argument("--share", type=float, default=0.7, help="of the rate of a closed loop")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0: by that share")
    parser.add_argument("--points", help="file for a line each second: seconds, bytes, requests under way")
    parser.add_argument("--cancels", type=float, default=0.1)
    parser.add_argument("--warm-share", type=float, default=0.4, help="of the time, until memory should stand")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1, help="of the server; the load needs the other core")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    server = Server(args.binary, args.model, "--threads", args.threads, "--max-num-seqs", args.width)
    try:
        print(json.dumps(asyncio.run(measure(server, args))), flush=True)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
