#!/usr/bin/env python3
"""SIGTERM at random moments under load: who was taken is told how it ends, and the server leaves with 0 in time.

Each moment is a server of its own with a lame-duck window and a budget drawn at random, requests that arrive by a Poisson
process before and after the signal, streamed and whole, and one SIGTERM. A request that was taken ends explicitly by a
whole answer or stream, or by one error; one that was not is refused with Retry-After, or finds nobody. Texts are
compared with those of a server that nobody stops.

Needs nothing but Python. Usage: drain_e2e.py --binary FOREGATE --model DIR [--moments N] [--seed N]"""
import argparse
import collections
import json
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

PROMPTS = ["Once upon a time", "The dog", "A small boat", "Tell me a story about a fox."]
LONGEST = 400
RATE = 25.0           # arrivals a second
FLUSH_SECONDS = 2.0   # that the program may take to tell those it cuts off
SLACK_SECONDS = 1.5   # for a machine that does other things too


class Server:
    def __init__(self, options, *flags):
        command = [options.binary, "serve", options.model, "--port", "0", "--no-grpc", "--served-model-name", "demo", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.port = None
        for line in self.process.stderr:
            if found := re.search(r"listening on http://[^ ]*:(\d+)", line):
                self.port = int(found.group(1))
                break
        assert self.port, "the server said no port"
        self.said = []
        self.reader = threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True)
        self.reader.start()
        until = time.monotonic() + 60
        while health(self.port) != 200:
            assert time.monotonic() < until and self.process.poll() is None, "not ready"
            time.sleep(0.02)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def exchange(port, request):
    """All bytes that come back until the server closes, and whether it could be reached at all."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(request)
            while piece := connection.recv(65536):
                answer += piece
    except OSError:
        pass
    return answer


def health(port):
    answer = exchange(port, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return int(answer.split(b" ", 2)[1]) if answer else 0


def post(port, body):
    text = json.dumps(body)
    return exchange(port, (f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                           f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}").encode())


def unchunked(data):
    """The body of a chunked answer, and whether its last chunk came."""
    body = b""
    while data:
        size, mark, rest = data.partition(b"\r\n")
        if not mark:
            return body, False
        count = int(size, 16)
        if count == 0:
            return body, True
        body += rest[:count]
        data = rest[count + 2:]
    return body, False


class Request:
    """One request of a client, and what became of it."""

    def __init__(self, dice, sent):
        self.prompt = dice.choice(PROMPTS)
        self.stream = dice.random() < 0.6
        self.tokens = dice.randint(1, LONGEST)
        self.sent = sent  # seconds since the load began
        self.answer = b""

    def run(self, port):
        self.answer = post(port, {"model": "demo", "prompt": self.prompt, "max_tokens": self.tokens, "temperature": 0,
                                  "ignore_eos": True, "stream": self.stream})

    def outcome(self, texts):
        head, _, data = self.answer.partition(b"\r\n\r\n")
        if not head:
            return "not reached"
        status = int(head.split(b" ", 2)[1])
        chunked = b"transfer-encoding: chunked" in head.lower()
        body, ended = unchunked(data) if chunked else (data, True)
        if status == 503 and b"did not finish this request in time" in body:
            return "failed"
        if status != 200:
            refused = status == 503 and b"retry-after" in head.lower() and b'"error"' in body
            return "refused" if refused else f"answered {status}"
        if not self.stream:
            return self.judge(json.loads(body)["choices"][0], texts) if ended and body else "lost"
        if not ended:
            return "lost"
        events = [event[6:] for event in body.decode().split("\n\n") if event.startswith("data: ")]
        done = bool(events) and events[-1] == "[DONE]"
        parts = [json.loads(event) for event in events if event != "[DONE]"]
        failed = any("error" in part for part in parts)
        if done == failed:
            return "silent" if done else "lost"
        choices = [choice for part in parts for choice in part.get("choices", [])]
        text = "".join(choice["text"] for choice in choices)
        if failed:
            return "failed" if texts[self.prompt].startswith(text) else "wrong text"
        return self.judge({"text": text, "finish_reason": choices[-1]["finish_reason"]}, texts)

    def judge(self, choice, texts):
        if choice["finish_reason"] != "length":
            return f"finished by {choice['finish_reason']}"
        return "complete" if texts[self.prompt].startswith(choice["text"]) else "wrong text"


def moment(options, dice, texts):
    """One server, one signal; counts of outcomes and what went wrong."""
    window = dice.choice([0.0, 0.4])
    budget = dice.choice([0.0, 0.5, 20.0])
    server = Server(options, "--drain-delay", str(window), "--shutdown-timeout", str(budget), "--max-num-seqs", "8")
    at = dice.uniform(0.0, 1.5)
    begin = time.monotonic()
    requests, threads, faults = [], [], []
    stopped = threading.Event()

    def load():
        due = 0.0
        while not stopped.is_set():
            due += dice.expovariate(RATE)
            time.sleep(max(0.0, begin + due - time.monotonic()))
            requests.append(Request(dice, time.monotonic() - begin))
            threads.append(threading.Thread(target=requests[-1].run, args=(server.port,)))
            threads[-1].start()

    loader = threading.Thread(target=load)
    loader.start()
    time.sleep(max(0.0, begin + at - time.monotonic()))
    signalled = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    if (seen := health(server.port)) not in (0, 503):
        faults.append(f"/health says {seen} after the signal")
    limit = window + budget + FLUSH_SECONDS + SLACK_SECONDS
    try:
        code = server.process.wait(limit)
        if code != 0:
            faults.append(f"exit code {code}")
    except subprocess.TimeoutExpired:
        faults.append(f"still there {limit:.1f} s after the signal")
        server.process.kill()
    took = time.monotonic() - signalled
    stopped.set()
    loader.join()
    for thread in threads:
        thread.join()
    server.reader.join(5)
    counts = collections.Counter(request.outcome(texts) for request in requests)
    counts["taken in the window"] = sum(
        request.outcome(texts) in ("complete", "failed") and request.sent > signalled - begin + 0.05
        for request in requests) if window else 0
    return counts, faults, took - window - budget


def reference(options):
    server = Server(options)
    texts = {}
    for prompt in PROMPTS:
        answer = post(server.port, {"model": "demo", "prompt": prompt, "max_tokens": LONGEST, "temperature": 0,
                                    "ignore_eos": True})
        texts[prompt] = json.loads(answer.partition(b"\r\n\r\n")[2])["choices"][0]["text"]
    assert server.stop() == 0
    return texts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--moments", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    texts = reference(options)
    total, faults, latest = collections.Counter(), [], 0.0
    for number in range(options.moments):
        counts, wrong, late = moment(options, random.Random(options.seed * 1000 + number), texts)
        total += counts
        latest = max(latest, late)
        faults += [f"moment {number}: {fault}" for fault in wrong]
        bad = set(counts) - {"complete", "failed", "refused", "not reached", "taken in the window"}
        faults += [f"moment {number}: {counts[name]} requests {name}" for name in sorted(bad)]
    taken = total["complete"] + total["failed"]
    print(f"{options.moments} moments: {sum(total.values()) - total['taken in the window']} requests, {taken} taken of "
          f"which {total['complete']} complete and {total['failed']} failed explicitly, {total['refused']} refused, "
          f"{total['not reached']} not reached; {total['taken in the window']} taken after the signal; "
          f"the latest exit {latest:.2f} s after window and budget")
    if taken == 0 or total["refused"] + total["not reached"] == 0:
        faults.append("the load did not meet the drain")
    if options.moments >= 4 and total["taken in the window"] == 0:
        faults.append("nobody was taken in a lame-duck window")
    print("\n".join(faults))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
