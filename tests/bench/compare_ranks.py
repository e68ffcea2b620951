#!/usr/bin/env python3
"""Tokens per second of one rank with several threads and of several ranks with one each, in turns, from outside.

Every round starts each server anew, in another order, warms it with one request, and lets clients ask one after another.
Ratios are medians of rounds, over the first way in the same round.

    compare_ranks.py --foregate build/foregate --ranks 2 --clients 1 8 --rounds 7 models/demo
    compare_ranks.py --foregate build/foregate --ranks 2 --more=--exchange=one-all-to-all models/demo
"""
import argparse
import http.client
import json
import random
import re
import statistics
import subprocess
import threading
import time
from pathlib import Path


class Served:
    def __init__(self, options, arguments):
        self.tokens = options.tokens
        self.repeat = options.repeat
        command = [options.foregate, "serve", options.model, "--served-model-name", "bench", "--port", "0", "--no-grpc", "--no-ui", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in self.process.stdout:
            found = re.search(r"http://[^:]+:(\d+)", line)
            if found:
                self.port = int(found[1])
                break
        else:
            raise SystemExit("the server ended: " + " ".join(map(str, command)))
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        while self.call("GET", "/health/ready")[0] != 200:
            time.sleep(0.05)

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def ask(self, number):
        status, text = self.call("POST", "/v1/completions", {"model": "bench", "prompt": f"Once upon a time {number}. " * self.repeat, "temperature": 0,
                                                             "max_tokens": self.tokens, "ignore_eos": True})
        if status != 200 or json.loads(text)["usage"]["completion_tokens"] != self.tokens:
            raise SystemExit(f"no answer: {status} {text[:200]}")

    def rate(self, clients, requests):
        """Tokens per second of all clients together."""
        failed = []

        def run(client):
            try:
                for i in range(requests):
                    self.ask(client * 100 + i)
            except BaseException as error:  # of a thread: told below
                failed.append(error)

        threads = [threading.Thread(target=run, args=(client,)) for client in range(clients)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        return clients * requests * self.tokens / (time.monotonic() - began)

    def end(self):
        self.process.terminate()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--foregate", required=True, type=Path)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2])
    parser.add_argument("--threads", type=int, default=2, help="of one rank alone; several have one each")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--requests", type=int, default=12, help="of a round, shared by its clients")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=1, help="of some six tokens: the length of a prompt, each of which is new")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--more", action="append", default=[], help="a further way: an option of serve for the first number of ranks")
    options = parser.parse_args()
    ranks = lambda count: ["--threads", "1", "--expert-parallel-size", str(count)]
    ways = {f"1 rank x {options.threads}": ["--threads", str(options.threads)]}
    ways |= {f"{count} ranks": ranks(count) for count in options.ranks}
    ways |= {f"{options.ranks[0]} ranks {more}": ranks(options.ranks[0]) + [more] for more in options.more}
    rates = {(way, clients): [] for way in ways for clients in options.clients}
    for number in range(options.rounds):
        order = list(ways)
        random.Random(number).shuffle(order)
        for way in order:
            served = Served(options, ways[way])
            served.rate(1, 1)
            for clients in options.clients:
                rates[way, clients].append(served.rate(clients, max(1, options.requests // clients)))
            served.end()
    base = next(iter(ways))
    for (way, clients), found in rates.items():
        over = statistics.median(mine / theirs for mine, theirs in zip(found, rates[base, clients]))
        print(f"{way}, {clients} clients: {statistics.median(found):.0f} tokens/s ({min(found):.0f} to {max(found):.0f}), {over:.2f} of {base}")


if __name__ == "__main__":
    main()
