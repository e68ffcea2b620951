#!/usr/bin/env python3
"""How many steps pass between the end of a client and the end of its request, and that its neighbours' texts stay. The server
computes with the reference kernels, which are slow, so that a step takes longer than a look at /v1/stats."""
import argparse
import asyncio
import json
import random
import time

from serving import Server, ask, body_of, head_of, percentile


async def stats(reader_writer):
    reader, writer = reader_writer
    writer.write(b"GET /v1/stats HTTP/1.1\r\nHost: b\r\n\r\n")
    length = 0
    while (line := await reader.readline()).strip():
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return json.loads(await reader.readexactly(length))


async def victim(port, number):
    body = json.dumps(body_of(f"Cancelled {number}:", 400)).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head_of("/v1/completions", body) + body)
    await reader.readuntil(b"data: ")
    return writer


async def measure(server, args):
    bodies = [body_of(f"Neighbour {i} says:", args.tokens) for i in range(args.neighbours)]
    alone = [(await ask(server.port, body)).text for body in bodies]
    look = await asyncio.open_connection("127.0.0.1", server.port)
    draw, steps, step_s = random.Random(1), [], []
    while len(steps) < args.cancels:
        began, first = time.monotonic(), await stats(look)
        neighbours = [asyncio.ensure_future(ask(server.port, body)) for body in bodies]
        while not all(task.done() for task in neighbours) and len(steps) < args.cancels:
            writer = await victim(server.port, len(steps))
            await asyncio.sleep(draw.uniform(0, 0.05))
            before = await stats(look)
            writer.transport.abort()
            while (now := await stats(look))["running"] + now["waiting"] >= before["running"] + before["waiting"]:
                if all(task.done() for task in neighbours):
                    break
            else:
                steps.append(now["steps"] - before["steps"])
        texts = [answer.text for answer in await asyncio.gather(*neighbours)]
        if texts != alone:
            raise SystemExit("a neighbour's text changed")
        step_s.append((time.monotonic() - began) / max(1, (await stats(look))["steps"] - first["steps"]))
    look[1].close()
    return {"n": len(steps), "steps_p50": percentile(steps, 0.5), "steps_p99": percentile(steps, 0.99), "most": max(steps),
            "neighbours": len(bodies), "same_texts": True, "step_ms": round(1000 * min(step_s), 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--isa", default="ref")
    parser.add_argument("--neighbours", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=120, help="of each neighbour's answer")
    parser.add_argument("--cancels", type=int, default=200)
    args = parser.parse_args()
    server = Server(args.binary, args.model, "--isa", args.isa, "--threads", 1, "--no-enable-prefix-caching")
    try:
        print(json.dumps(asyncio.run(measure(server, args))), flush=True)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
