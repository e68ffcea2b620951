#!/usr/bin/env python3
"""Ranks that are killed and stopped at random moments under load: how long until what was running has ended, explicitly, and
until the server answers again. No request may be lost (no answer at all) or hang.

Needs nothing but Python. Usage: rank_faults.py --binary FOREGATE --model DIR [--rounds 100] [--ranks 2] [--seed 0]"""
import argparse
import http.client
import json
import os
import random
import signal
import statistics
import sys
import threading
import time
from pathlib import Path

import pack_e2e
from ranks import figure, workers

BARS = {"SIGKILL": (1.0, 10.0), "SIGSTOP": (3.0, 15.0)}  # seconds until all have ended, and until one is answered
HUNG_AFTER = 30.0
BODY = {"model": "demo", "prompt": "Once upon a time", "max_tokens": 100, "temperature": 0, "ignore_eos": True}


class Pauses:
    """When this program itself was not run for a while (a machine that is busy or stopped): times then say nothing of the server."""

    def __init__(self, longest=0.5):
        self.longest, self.found, self.stopping = longest, [], False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        last = time.monotonic()
        while not self.stopping:
            time.sleep(0.02)
            now = time.monotonic()
            if now - last > self.longest:
                self.found.append((last, now))
            last = now

    def between(self, start, end):
        return any(begin < end and start < over for begin, over in list(self.found))

    def stop(self):
        self.stopping = True
        self.thread.join()


class Load:
    """Clients that ask one after the other. `done`: (start, end, outcome) of every request, in the order of their ends."""

    def __init__(self, served, clients):
        self.served, self.lock, self.done, self.open = served, threading.Lock(), [], {}
        self.stopping, self.right = False, None
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(clients)]
        for thread in self.threads:
            thread.start()

    def ask(self, stream):
        """ok, failed (an error that says so), lost (neither), or wrong (another text than before)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=HUNG_AFTER)
        try:
            connection.request("POST", "/v1/completions", json.dumps({**BODY, "stream": stream}), {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode()
            if response.status != 200:
                return "failed" if "error" in json.loads(text) else "lost"
            if stream:
                events = [event[6:] for event in text.split("\n\n") if event.startswith("data: ")]
                if events and events[-1] == "[DONE]":
                    return self.compare("".join(json.loads(e)["choices"][0]["text"] for e in events[:-1] if json.loads(e)["choices"]))
                return "failed" if events and "error" in json.loads(events[-1]) else "lost"
            return self.compare(json.loads(text)["choices"][0]["text"])
        except TimeoutError:
            return "hung"
        except (OSError, http.client.HTTPException, ValueError):
            return "lost"
        finally:
            connection.close()

    def compare(self, text):
        with self.lock:
            self.right = self.right or text
            return "ok" if text == self.right else "wrong"

    def run(self, number):
        stream = number % 2 == 0
        while not self.stopping:
            start = time.monotonic()
            with self.lock:
                self.open[number] = start
            outcome = self.ask(stream)
            with self.lock:
                del self.open[number]
                self.done.append((start, time.monotonic(), outcome))
            if outcome != "ok":
                time.sleep(0.02)

    def answered_since(self, when):
        """The end of the first request that began after `when` and was answered."""
        with self.lock:
            return min((end for start, end, outcome in self.done if start > when and outcome == "ok"), default=None)

    def running_at(self, when):
        with self.lock:
            return [(start, end, outcome) for start, end, outcome in self.done if start < when < end]

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()


def wait_for(what, limit):
    until = time.monotonic() + limit
    while time.monotonic() < until:
        got = what()
        if got:
            return got
        time.sleep(0.005)
    return None


def one_round(served, load, sent, dice):
    """What became of the requests that ran when the signal was sent, seconds until the last ended and until an answer."""
    time.sleep(dice.uniform(0.05, 0.8))
    victim = dice.choice(workers(served))
    with load.lock:
        running = dict(load.open)
        when = time.monotonic()
    os.kill(victim, sent)
    again = wait_for(lambda: load.answered_since(when), HUNG_AFTER)
    over = wait_for(lambda: all(load.open.get(number) != start for number, start in list(running.items())), HUNG_AFTER)
    ended = load.running_at(when)
    last = max((end - when for _, end, _ in ended), default=0.0) if over else HUNG_AFTER
    return [outcome for _, _, outcome in ended], last, again - when if again else HUNG_AFTER


def summary(name, rounds):
    ends, agains = [r[1] for r in rounds], [r[2] for r in rounds]
    outcomes = [outcome for r in rounds for outcome in r[0]]
    counts = {kind: outcomes.count(kind) for kind in sorted(set(outcomes))}
    print(f"{name}: {len(rounds)} times; requests that ran had ended after {statistics.median(ends):.2f} s (median), "
          f"{max(ends):.2f} s (worst), {counts}; an answer again after {statistics.median(agains):.2f} s, {max(agains):.2f} s",
          flush=True)
    return max(ends) <= BARS[name][0] and max(agains) <= BARS[name][1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-bars", action="store_true", help="print the times, and fail for lost, hung or wrong requests only")
    options = parser.parse_args()
    pack_e2e.OPTIONS.binary = options.binary
    dice = random.Random(options.seed)
    rounds = {"SIGKILL": [], "SIGSTOP": []}
    pauses, disturbed = Pauses(), 0
    with pack_e2e.Served(options.model, "--expert-parallel-size", str(options.ranks)) as served:
        load = Load(served, options.clients)
        try:
            if not wait_for(lambda: load.answered_since(0), HUNG_AFTER):
                sys.exit("no answer before the first fault")
            number = 0
            while number < options.rounds:
                sent, begun = (signal.SIGKILL, signal.SIGSTOP)[number % 2], time.monotonic()
                done = one_round(served, load, sent, dice)
                time.sleep(0.05)
                if pauses.between(begun, time.monotonic()):
                    disturbed += 1
                    if disturbed > options.rounds:
                        sys.exit("the machine stops this program too often to measure")
                    continue
                rounds[sent.name].append(done)
                number += 1
        finally:
            load.stop()
            pauses.stop()
        restarts = figure(served, "foregate_rank_restarts_total")
    within = all([summary(name, done) for name, done in rounds.items() if done])
    if disturbed:
        print(f"{disturbed} more times this program itself was not run for a while; they do not count")
    outcomes = [outcome for start, end, outcome in load.done if not pauses.between(start, end)]
    counts = {kind: outcomes.count(kind) for kind in ("ok", "failed", "lost", "hung", "wrong")}
    print(f"all requests: {counts}, {restarts:.0f} restarts")
    sound = counts["lost"] == counts["hung"] == counts["wrong"] == 0 and counts["failed"] > 0 and restarts >= options.rounds
    return 0 if sound and (within or options.no_bars) else 1


if __name__ == "__main__":
    sys.exit(main())
