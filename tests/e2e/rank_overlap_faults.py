#!/usr/bin/env python3
"""Ranks that are killed and stopped while exchanges overlap: in chunks and in halves, over sockets and over shared memory.

Servers run side by side, as most of a fault is waiting for it to be noticed. What was running ends explicitly, the server
answers again, and with the same text. Needs nothing but Python.
Usage: rank_overlap_faults.py --binary FOREGATE --model DIR"""
import argparse
import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pack_e2e
from ranks import ask, figure, workers

# Enough tokens for several messages to a rank.
LONG = " ".join(f"Once upon a time {i}." for i in range(100))
HUNG_AFTER = 60.0


def answer(served, sent):
    """To a prompt that nothing before it had a part of."""
    status, text = ask(served, prompt=f"{sent.name}. {LONG}", max_tokens=8)
    assert status == 200, text
    return json.loads(text)["choices"]


class Load:
    """Clients that ask for long prompts, each a new one so that no prefix is known, until they are told to stop.
    `done`: (start, end, status, text)."""

    def __init__(self, served, clients=3):
        self.served, self.stopping, self.done, self.open = served, False, [], {}
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        turn = 0
        while not self.stopping:
            start = time.monotonic()
            self.open[number] = start
            status, text = ask(self.served, prompt=f"{number} {turn}. {LONG}", max_tokens=8)
            self.done.append((start, time.monotonic(), status, text))
            turn += 1
            if status != 200:
                time.sleep(0.02)

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()


def wait_for(what, why):
    until = time.monotonic() + HUNG_AFTER
    while not what():
        if time.monotonic() > until:
            raise AssertionError(why)
        time.sleep(0.005)


def fault(served, counter, sent):
    """Seconds until what ran had ended, and until an answer came."""
    load = Load(served)
    try:
        before = figure(served, counter)
        wait_for(lambda: figure(served, counter) > before, "nothing overlaps")
        restarts = figure(served, "foregate_rank_restarts_total")
        running, when = dict(load.open), time.monotonic()
        os.kill(workers(served)[0], sent)
        wait_for(lambda: all(load.open[i] != start for i, start in running.items()), "a request hangs")
        over = time.monotonic() - when
        wait_for(lambda: any(start > when and status == 200 for start, _, status, _ in list(load.done)), "it does not serve again")
        again = time.monotonic() - when
    finally:
        load.stop()
    failed = [text for _, _, status, text in load.done if status != 200]
    assert failed, "the rank was not missed"
    assert all("error" in json.loads(text) for text in failed), failed
    assert figure(served, "foregate_rank_restarts_total") == restarts + 1
    return over, again


def run(model, way, line, want):
    counter = f"moe_exchange_{way}_total"
    with pack_e2e.Served(model, "--no-grpc", "--expert-parallel-size", "2", "--exchange-overlap", way, "--rank-line", line) as served:
        assert figure(served, "foregate_ranks_sharing_memory") == (line == "shared-memory")
        told = f"{way}, {line}:"
        for sent in (signal.SIGKILL, signal.SIGSTOP):
            over, again = fault(served, counter, sent)
            after = figure(served, counter)
            assert answer(served, sent) == want[sent], "another text"
            assert figure(served, counter) > after, "the new rank does not overlap"
            told += f" {sent.name} ended after {over:.2f} s, an answer again after {again:.2f} s;"
    return told


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path)
    options = parser.parse_args()
    pack_e2e.OPTIONS.binary = options.binary
    with pack_e2e.Served(options.model, "--no-grpc") as served:
        want = {sent: answer(served, sent) for sent in (signal.SIGKILL, signal.SIGSTOP)}
    cases = [(way, line) for way in ("chunks", "halves") for line in ("socket", "shared-memory")]
    with ThreadPoolExecutor(len(cases)) as pool:
        for told in pool.map(lambda case: run(options.model, *case, want), cases):
            print(told, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
