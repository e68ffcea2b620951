#!/usr/bin/env python3
"""Good clients while bad ones are there: `--idle` connections that say nothing, `--unread` that ask for a long stream and never
read it, `--drip` that send a request byte by byte, half of them its header and half its body. Good clients are asked for in two
ways, each before, with and after the bad ones: a closed loop (tokens a second), and arrivals at a share of that with a deadline
(answers in time). Tells what share of both is kept, the memory of a bad client by kind, and what is left when all are gone.
`kept_throughput_cpu` counts tokens by the second of processor time that the server used, which other programs disturb less.

The bad ones run in a process of their own. Timeouts are the server's defaults, but for the time that a stalled stream may
last: with `--stall-timeout` beyond the measurement all of them stay."""
import argparse
import asyncio
import json
import multiprocessing
import random
import resource
import selectors
import socket
import time

from serving import Server, body_of, closed_loop, head_of, open_loop, percentile, poisson, words

DRIP_EVERY_S = 1.0  # a byte of each dripping client


class BadClients:
    """Connections of one kind each, all in one process; those that the server closes are opened again."""

    def __init__(self, port, pipe, unread_tokens):
        self.port, self.pipe, self.unread_tokens = port, pipe, unread_tokens
        self.selector, self.drips, self.again, self.refused = selectors.DefaultSelector(), {}, 0, 0
        self.unread = []

    def connect(self, receive_bytes=None):
        made = socket.socket()
        if receive_bytes:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        made.connect(("127.0.0.1", self.port))
        return made

    def open(self, kind):
        if kind == "unread":
            body = json.dumps(body_of(f"Number {len(self.unread)} never reads", self.unread_tokens)).encode()
            made = self.connect(4096)
            made.sendall(head_of("/v1/completions", body) + body)
            return self.unread.append(made)
        made = self.connect()
        made.setblocking(False)
        self.selector.register(made, selectors.EVENT_READ, kind)
        if kind == "drip":
            body = json.dumps(body_of("Once upon a time " * 8, 4)).encode()
            head = head_of("/v1/completions", body)
            whole_head = len(self.drips) % 2
            if whole_head:
                made.send(head)
            self.drips[made] = memoryview(body if whole_head else head)

    def lose(self, made, kind):
        self.selector.unregister(made)
        self.drips.pop(made, None)
        made.close()
        self.again += 1
        try:
            self.open(kind)
        except OSError:
            self.refused += 1

    def listen(self, seconds):
        """What the server says to those that did not ask is an error or an end."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for key, _ in self.selector.select(left):
                try:
                    if key.fileobj.recv(4096):
                        continue
                except BlockingIOError:
                    continue
                except OSError:
                    pass
                self.lose(key.fileobj, key.data)

    def drip(self):
        slices = 20
        for part in range(slices):
            for made in list(self.drips)[part::slices]:
                rest = self.drips.get(made)
                if not rest:
                    continue
                try:
                    self.drips[made] = rest[made.send(rest[:1]):]
                except OSError:
                    self.lose(made, "drip")
            self.listen(DRIP_EVERY_S / slices)
            if self.pipe.poll(0):
                return

    def close(self):
        for made in [key.fileobj for key in self.selector.get_map().values()] + self.unread:
            made.close()

    def run(self):
        while True:
            if not self.pipe.poll(0):
                self.drip()
                continue
            kind, count = self.pipe.recv()
            if kind == "close":
                self.close()
                self.pipe.send({"opened_again": self.again, "lost": self.refused})
                return
            for _ in range(count):
                self.open(kind)
            self.pipe.send(count)


def bad_process(port, pipe, unread_tokens):
    BadClients(port, pipe, unread_tokens).run()


async def settled(server, limit_s):
    """Until no sequence runs or waits for its turn. Whether that came to pass."""
    until = time.monotonic() + limit_s
    calm = 0
    while time.monotonic() < until and calm < 3:
        stats = await asyncio.to_thread(server.stats)
        calm = calm + 1 if stats["running"] == 0 and stats["waiting"] == 0 else 0
        await asyncio.sleep(0.3)
    return calm == 3


def bodies(draw, count):
    return [body_of(words(draw, draw.randrange(4, 60)), draw.randrange(4, 80)) for _ in range(count)]


async def good(server, args):
    """Tokens a second of a closed loop; then, at a share of the first one's rate, the share in time and the latencies."""
    draw = random.Random(args.seed)
    asked = bodies(draw, args.jobs)
    began, cpu = time.monotonic(), server.cpu()
    answers = await closed_loop(server.port, asked, args.width)
    seconds, cpu = time.monotonic() - began, server.cpu() - cpu
    tokens = sum(a.tokens for a in answers)
    figures = {"tokens_s": tokens / seconds, "tokens_cpu_s": tokens / cpu, "failed": sum(not a.ok for a in answers)}
    args.rate = args.rate or args.share * args.jobs / seconds
    arrivals = poisson(args.rate, args.seconds, args.seed)
    headers = {"X-Request-Timeout-Ms": round(args.deadline * 1000)}
    answers = await open_loop(server.port, [(at, body, headers) for at, body in zip(arrivals, bodies(draw, len(arrivals)))])
    in_time = [a.end for a in answers if a.ok and a.end <= args.deadline]
    return {**figures, "in_time": len(in_time) / max(1, len(answers)), "p50_ms": 1000 * percentile(in_time, 0.5),
            "p99_ms": 1000 * percentile(in_time, 0.99)}


async def measure(server, args):
    draw = random.Random(args.seed + 1)
    for _ in range(3):  # memory of the KV cache is taken when it is first written
        await closed_loop(server.port, bodies(draw, args.warm), 4 * args.width)
    before = await good(server, args)
    pipe, other = multiprocessing.Pipe()
    process = multiprocessing.Process(target=bad_process, args=(server.port, other, args.unread_tokens), daemon=True)
    process.start()
    memory, rss = {}, server.rss()
    base = rss
    for kind in ("idle", "unread", "drip"):
        count = getattr(args, kind)
        if count == 0:
            continue
        pipe.send((kind, count))
        await asyncio.to_thread(pipe.recv)
        calm = await settled(server, args.settle)
        await asyncio.sleep(1.0)
        memory[f"{kind}_kib_each"] = round((server.rss() - rss) / count / 1024, 1)
        rss = server.rss()
    connections = server.metric("foregate:http_connections")
    paused = server.stats()["paused"]
    with_bad = await good(server, args)
    most = max(rss, server.rss())
    pipe.send(("close", 0))
    closed = await asyncio.to_thread(pipe.recv)
    process.join(10)
    await settled(server, args.settle)
    after = await good(server, args)
    await asyncio.sleep(1.0)
    stats = server.stats()
    kept = {name: round(2 * with_bad[name] / (before[name] + after[name]), 3) for name in ("tokens_s", "tokens_cpu_s", "in_time")}
    bad = args.idle + args.unread + args.drip
    rounded = {when: {name: round(value, 3) for name, value in figures.items()}
               for when, figures in (("before", before), ("with", with_bad), ("after", after))}
    return {"bad": bad, "rate": round(args.rate, 1), **rounded, "kept_throughput": kept["tokens_s"],
            "kept_throughput_cpu": kept["tokens_cpu_s"],
            "kept_in_time": kept["in_time"], **memory, "kib_each": round((most - base) / bad / 1024, 1),
            "connections_with": connections, "paused_with": paused, "calm_with": calm, **closed,
            "left": {"connections": server.metric("foregate:http_connections") - 1, "kv_blocks_used": stats["kv_blocks_used"],
                     "sequences": stats["running"] + stats["waiting"] + stats["paused"]}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--unread", type=int, default=500)
    parser.add_argument("--drip", type=int, default=500)
    parser.add_argument("--unread-tokens", type=int, default=1500)
    parser.add_argument("--jobs", type=int, default=400, help="answers of the closed loop")
    parser.add_argument("--seconds", type=float, default=15.0, help="of arrivals")
    parser.add_argument("--share", type=float, default=0.5, help="of the closed loop's rate at which they arrive")
    parser.add_argument("--rate", type=float, default=0.0, help="of arrivals; 0: that share")
    parser.add_argument("--deadline", type=float, default=3.0)
    parser.add_argument("--settle", type=float, default=240.0, help="seconds until streams that nobody reads stand still, at most")
    parser.add_argument("--stall-timeout", type=float, default=600.0)
    parser.add_argument("--warm", type=int, default=400)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1, help="of the server; the clients need the other core")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    bad = args.idle + args.unread + args.drip
    server = Server(args.binary, args.model, "--threads", args.threads, "--max-num-seqs", args.width, "--max-connections", bad + 256,
                    "--max-num-queued-reqs", args.unread + 256, "--stall-timeout", args.stall_timeout,
                    "--num-gpu-blocks-override", 1024)
    try:
        print(json.dumps(asyncio.run(measure(server, args))), flush=True)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
