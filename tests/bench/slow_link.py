#!/usr/bin/env python3
"""Ranks behind a link that is slow beside the experts: tokens per second without overlap, in chunks, in halves and with auto,
in turns.

Each rank is in a network namespace of its own. Rank 0 reaches the others through this program, which passes frames between
two taps after `--delay-ms`, no faster than `--mbit`. Needs root, ip, unshare, mpirun, /dev/net/tun and the MPI module.

    slow_link.py --binary build/foregate --model models/demo --mbit 100 --delay-ms 2 --clients 8 --rounds 5
"""
import argparse
import fcntl
import json
import os
import random
import select
import signal
import statistics
import struct
import sys
import threading
import time
from collections import deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
import pack_e2e  # noqa: E402
from mpi_e2e import ENVIRONMENT, Job  # noqa: E402
from rank_namespaces import Network, ip  # noqa: E402
from ranks import ask, figure  # noqa: E402

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000
WAYS = ("off", "chunks", "halves", "auto")


def tap(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return fd


class Cable:
    """A process of its own that passes frames both ways, late and one after the other. `bits_per_second` 0: as they come."""

    def __init__(self, ends, delay, bits_per_second):
        self.process = os.fork()
        if self.process == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            try:
                self.carry(ends, delay, bits_per_second)
            finally:
                os._exit(1)

    @staticmethod
    def carry(ends, delay, bits_per_second):
        waiting = {ends[0]: deque(), ends[1]: deque()}  # by the end they came from: (when they arrive, frame)
        free = dict.fromkeys(ends, 0.0)                 # when the end may put its next frame on the wire
        other = {ends[0]: ends[1], ends[1]: ends[0]}
        while True:
            due = min((queue[0][0] for queue in waiting.values() if queue), default=None)
            left = None if due is None else max(0.0, due - time.monotonic())
            ready, _, _ = select.select(ends, (), (), left)
            now = time.monotonic()
            for end in ready:
                try:
                    while True:
                        frame = os.read(end, 65536)
                        begin = max(now, free[end])
                        free[end] = begin + (8 * len(frame) / bits_per_second if bits_per_second else 0)
                        if begin - now < 0.2:  # else the queue is full
                            waiting[end].append((free[end] + delay, frame))
                except BlockingIOError:
                    pass
            for end, queue in waiting.items():
                while queue and queue[0][0] <= now:
                    try:
                        os.write(other[end], queue.popleft()[1])
                    except OSError:
                        pass  # lost, as on a wire

    def end(self):
        os.kill(self.process, 9)
        os.waitpid(self.process, 0)


class SlowNetwork(Network):
    """The cable of host0 is cut, and its ends are joined by a Cable."""

    def __init__(self, hosts, delay, bits_per_second):
        super().__init__(hosts)
        self.delay, self.bits_per_second, self.wire = delay, bits_per_second, None

    def __enter__(self):
        names = [f"fgtap{os.getpid() % 10000}{end}" for end in "ab"]
        ends = [tap(name) for name in names]
        super().__enter__()
        host = self.of("host0")
        ip("-n", host, "link", "del", "eth0")
        self.enter(self.home)
        ip("link", "set", names[0], "netns", host)
        ip("link", "set", names[1], "netns", self.switch)
        ip("-n", host, "link", "set", names[0], "name", "eth0")
        ip("-n", host, "addr", "add", "10.77.0.1/24", "dev", "eth0")
        ip("-n", host, "link", "set", "eth0", "up")
        ip("-n", self.switch, "link", "set", names[1], "master", "br0", "up")
        self.enter(os.open(f"/run/netns/{host}", os.O_RDONLY))
        self.wire = Cable(ends, self.delay, self.bits_per_second)
        for end in ends:
            os.close(end)
        return self

    def __exit__(self, *all):
        if self.wire:
            self.wire.end()
        super().__exit__(*all)


def rate(served, options, turn):
    """Tokens per second of all clients together, prompts with those that were generated; None when a request failed."""
    tokens, failed = [], []

    def run(client):
        for number in range(options.requests):
            words = " ".join(f"Once upon a time {client} {turn} {number}." for _ in range(options.repeat))
            status, text = ask(served, prompt=words, max_tokens=options.tokens, ignore_eos=True, logprobs=None)
            if status != 200:
                failed.append(text)
                return
            tokens.append(json.loads(text)["usage"]["total_tokens"])

    threads = [threading.Thread(target=run, args=(client,)) for client in range(options.clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        print(f"round {turn} does not count: {failed[0]}", flush=True)
        while ask(served)[0] != 200:
            time.sleep(0.1)
        return None
    return sum(tokens) / (time.monotonic() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=lambda text: Path(text).resolve())
    parser.add_argument("--model", required=True, type=lambda text: Path(text).resolve())
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--mbit", type=float, default=100)
    parser.add_argument("--delay-ms", type=float, default=2)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=1, help="of each client in a round")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=1, help="of some eight tokens: the length of a prompt")
    parser.add_argument("--warm", type=int, default=1, help="rounds that do not count")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step-tokens", type=int, default=512, help="most rows of a step")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    options = parser.parse_args()
    pack_e2e.OPTIONS.binary = options.binary
    os.environ.update(ENVIRONMENT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended before its time"))  # namespaces and jobs go first
    rates = {way: [] for way in options.ways}
    counts = {}
    with SlowNetwork(options.ranks, options.delay_ms / 1000, options.mbit * 1e6) as network:
        served = {}
        try:
            for way in options.ways:
                served[way] = Job(options.model, options.ranks, "--threads", "1", "--max-num-batched-tokens", str(options.step_tokens),
                                  "--exchange-overlap", way, starter=network.starter()).__enter__()
            for turn in range(options.warm + options.rounds):
                order = list(options.ways)
                random.Random(turn).shuffle(order)
                found = {way: rate(served[way], options, turn) for way in order}
                if turn >= options.warm and None not in found.values():
                    for way in order:
                        rates[way].append(found[way])
            for way in options.ways:
                counts[way] = [figure(served[way], f"moe_exchange_{what}_total")
                               for what in ("chunks", "halves", "overlap_trials", "overlap_trials_spared")]
        finally:
            for way in list(served)[::-1]:
                served[way].__exit__()
    for way, found in rates.items():
        over = statistics.median(mine / theirs for mine, theirs in zip(found, rates[options.ways[0]]))
        chunks, halves, trials, spared = counts[way]
        print(f"{way}, {len(found)} rounds: {statistics.median(found):.0f} tokens/s ({min(found):.0f} to {max(found):.0f}), {over:.2f} of {options.ways[0]}; "
              f"{chunks:.0f} chunks, {halves:.0f} steps in halves, {trials:.0f} trials, {spared:.0f} spared")


if __name__ == "__main__":
    main()
