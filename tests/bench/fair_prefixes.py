#!/usr/bin/env python3
"""dlpm against fcfs and against fair counting without locality, clients with prefixes of their own: throughput, and the
largest gap of service between two clients that both wait all the time.

Every client keeps `--depth` requests waiting; each begins with one of the client's long prompts, and the cache does not hold
them all. Fair counting is dlpm whose quantum is one: it goes round the clients. Service is counted as dlpm does: a prompt token
that was computed is 1, a generated one is 2."""
import argparse
import asyncio
import json
import random
import time

from serving import Server, words

POLICIES = {"fcfs": ("fcfs", 2048), "fair": ("dlpm", 1), "dlpm": ("dlpm", 0)}


async def drive(server, args, seconds):
    draw = random.Random(args.seed)
    prefixes = {c: [f"Tale {c}-{p}: " + words(draw, args.prefix) for p in range(args.prefixes)] for c in range(args.clients)}
    service, gap, tokens, until = [0] * args.clients, 0, 0, time.monotonic() + seconds

    async def lane(client, lane_number):
        nonlocal gap, tokens
        pick, number = random.Random(f"{client}-{lane_number}"), 0
        while time.monotonic() < until:
            number += 1
            prompt = pick.choice(prefixes[client]) + f" Part {lane_number}-{number}."
            body = {"prompt": prompt, "max_tokens": args.tokens, "ignore_eos": True, "temperature": 0, "cache_salt": f"c{client}"}
            answer = await plain(server.port, body)
            usage = answer["usage"]
            cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
            service[client] += usage["prompt_tokens"] - cached + 2 * usage["completion_tokens"]
            if time.monotonic() < until:
                tokens += usage["prompt_tokens"] + usage["completion_tokens"]
                gap = max(gap, max(service) - min(service))

    await asyncio.gather(*(lane(c, i) for c in range(args.clients) for i in range(args.depth)))
    return tokens / seconds, gap


async def plain(port, body):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = json.dumps(body).encode()
    writer.write(f"POST /v1/completions HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
                 "Connection: close\r\n\r\n".encode() + data)
    raw = await reader.read()
    writer.close()
    return json.loads(raw.split(b"\r\n\r\n", 1)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--depth", type=int, default=8, help="requests of each client at a time")
    parser.add_argument("--prefixes", type=int, default=4, help="of each client")
    parser.add_argument("--prefix", type=int, default=300, help="words of each")
    parser.add_argument("--tokens", type=int, default=4)
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=160, help="of 16 positions, in the KV cache")
    parser.add_argument("--quantum", type=int, default=2048)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    for round_number in range(args.rounds):
        for name in list(POLICIES)[::-1 if round_number % 2 else 1]:
            policy, quantum = POLICIES[name]
            server = Server(args.binary, args.model, "--scheduling-policy", policy, "--dlpm-quantum", quantum or args.quantum,
                            "--max-num-seqs", args.width, "--max-num-queued-reqs", 10000, "--num-gpu-blocks-override", args.blocks)
            try:
                rate, gap = asyncio.run(drive(server, args, args.seconds))
                stats = server.stats()
                print(json.dumps({"policy": name, "tokens_s": round(rate, 1), "gap": gap,
                                  "prefix_hits": round(stats["prefix_hits"] / max(1, stats["prefix_queries"]), 3),
                                  "answers": stats["finished"]}), flush=True)
            finally:
                server.stop()


if __name__ == "__main__":
    main()
