#!/usr/bin/env python3
"""Streaming clients against `foregate serve` and llama-server in turns, on the same GGUF file with as many slots.

Every client sends a prompt of random token ids to /v1/completions, reads the stream to its end and sends the next. Both
servers get the same body: temperature 1 with the other sampling values given, no end of sequence, no prompt cache.
Each round starts each server anew, warms it with one request, and runs --requests requests a client.

    compare_servers.py --foregate build/foregate --llama-server PATH --clients 8 16 --rounds 3 --json out.json MODEL
"""
import argparse
import http.client
import json
import os
import random
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

OURS, PEER = "foregate", "llama-server"
FIRST_PLAIN_TOKEN = 128  # prompts keep clear of single bytes and of special tokens at the end
PLAIN_TOKENS = 50000


@dataclass
class Reply:
    """Times in seconds on the monotonic clock."""
    sent: float
    arrivals: list = field(default_factory=list)  # of each chunk with text
    ended: float = 0.0
    tokens: int = 0
    error: str = ""


def request_body(options, seed):
    draw = random.Random(seed)
    prompt = [draw.randrange(FIRST_PLAIN_TOKEN, PLAIN_TOKENS) for _ in range(options.prompt)]
    return json.dumps({"prompt": prompt, "max_tokens": options.generate, "stream": True,
                       "stream_options": {"include_usage": True}, "temperature": 1.0, "top_k": options.top_k,
                       "top_p": options.top_p, "min_p": options.min_p, "seed": seed, "ignore_eos": True,
                       "cache_prompt": False})


def read_event(line, reply):
    """Takes one line of the event stream into the reply."""
    if not line.startswith(b"data: {"):
        return
    event = json.loads(line[6:])
    if "error" in event:
        reply.error = json.dumps(event["error"])
    if any(choice.get("text") for choice in event.get("choices", [])):
        reply.arrivals.append(time.monotonic())
    if event.get("usage"):
        reply.tokens = event["usage"]["completion_tokens"]


def ask(port, body, timeout):
    """One streamed request from connect to end."""
    reply = Reply(sent=time.monotonic())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            reply.error = f"HTTP {response.status}: {response.read(500).decode(errors='replace')}"
        while not reply.error and (line := response.readline()):
            read_event(line, reply)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reply.error = repr(error)
    finally:
        connection.close()
    reply.ended = time.monotonic()
    if not reply.error and not reply.tokens:
        reply.error = "the stream ended without a count of tokens"
    return reply


def run_clients(port, clients, options, seed):
    """All replies of `clients` clients that start together."""
    replies, gate = [], threading.Barrier(clients)

    def client(number):
        gate.wait()
        for turn in range(options.requests):
            replies.append(ask(port, request_body(options, seed + number * 1000 + turn), options.timeout))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def summarize(replies):
    """The figures of one run; the inter-token latency is the gap between chunks of one stream."""
    good = [reply for reply in replies if not reply.error and reply.arrivals]
    errors = [reply.error or "no text" for reply in replies if reply.error or not reply.arrivals]
    if not good:
        return {"errors": errors}
    seconds = max(reply.ended for reply in good) - min(reply.sent for reply in good)
    firsts = [reply.arrivals[0] - reply.sent for reply in good]
    gaps = [after - before for reply in good for before, after in zip(reply.arrivals, reply.arrivals[1:])]
    tokens = sum(reply.tokens for reply in good)
    return {"output_tokens_per_second": tokens / seconds, "tokens": tokens, "seconds": seconds, "replies": len(good),
            "ttft_p50_s": percentile(firsts, 0.5), "ttft_p95_s": percentile(firsts, 0.95),
            "itl_p50_ms": 1e3 * percentile(gaps, 0.5), "itl_p95_ms": 1e3 * percentile(gaps, 0.95), "errors": errors}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def server_command(name, model, port, clients, options):
    slot = -(-(options.prompt + options.generate + 1) // 64) * 64
    if name == OURS:
        return [options.foregate, "serve", str(model), "--host", "127.0.0.1", "--port", str(port), "-t",
                str(options.threads), "--max-num-seqs", str(clients), "--max-model-len", str(slot),
                *shlex.split(options.foregate_args)]
    return [options.llama_server, "-m", str(model), "--host", "127.0.0.1", "--port", str(port), "-t",
            str(options.threads), "-c", str(slot * clients), "--parallel", str(clients),
            *shlex.split(options.llama_args)]


def wait_ready(port, child, seconds):
    """True when /health answers 200 before the time is over and while the server lives."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and child.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return True
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    return False


def stop(child):
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(60)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def peak_rss_mib(child):
    for line in Path(f"/proc/{child.pid}/status").read_text().split("\n"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def run_server(name, model, clients, options, seed):
    """Figures of one server started for one run."""
    port = free_port()
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(server_command(name, model, port, clients, options), stdout=log, stderr=log)
        try:
            if not wait_ready(port, child, options.timeout):
                log.seek(max(0, os.fstat(log.fileno()).st_size - 500))
                return {"errors": [f"{name} did not start: {log.read().decode(errors='replace')}"]}
            ask(port, request_body(options, seed), options.timeout)
            figures = summarize(run_clients(port, clients, options, seed + 1))
            if child.poll() is None:
                figures["peak_rss_mib"] = peak_rss_mib(child)
            return figures
        finally:
            stop(child)


MEDIANS = ("output_tokens_per_second", "ttft_p50_s", "ttft_p95_s", "itl_p50_ms", "itl_p95_ms", "peak_rss_mib")


def compare(model, clients, names, options):
    """Rounds in turns; per server the median of each figure over the rounds, and ours over the peer's."""
    runs = {name: [] for name in names}
    for turn in range(options.rounds):
        for name in names if turn % 2 == 0 else names[::-1]:
            print(f"{model.name}: {clients} clients, round {turn + 1} of {options.rounds}, {name}", file=sys.stderr)
            runs[name].append(run_server(name, model, clients, options, options.seed + 10**6 * (turn + 1)))
    result = {"model": str(model), "clients": clients, "runs": runs, "medians": {}, "ours_over": {}}
    for name, figures in runs.items():
        kept = {key: [run[key] for run in figures if key in run] for key in MEDIANS}
        result["medians"][name] = {key: statistics.median(values) for key, values in kept.items() if values}
    ours, peer = (result["medians"].get(name, {}) for name in (OURS, PEER))
    result["ours_over"] = {key: ours[key] / peer[key] for key in ours if peer.get(key)}
    return result


def print_result(result):
    print(f"\n{Path(result['model']).name}, {result['clients']} clients\n")
    print("| server | output tokens/s (min - max) | TTFT p50 / p95 s | ITL p50 / p95 ms | peak RSS MiB |")
    print("|---|---|---|---|---|")
    for name, median in result["medians"].items():
        if "output_tokens_per_second" not in median:
            continue
        rates = [run["output_tokens_per_second"] for run in result["runs"][name] if "output_tokens_per_second" in run]
        print(f"| {name} | {median['output_tokens_per_second']:.2f} ({min(rates):.2f} - {max(rates):.2f}) "
              f"| {median['ttft_p50_s']:.2f} / {median['ttft_p95_s']:.2f} "
              f"| {median['itl_p50_ms']:.0f} / {median['itl_p95_ms']:.0f} | {median.get('peak_rss_mib', 0):.0f} |")
    if result["ours_over"]:
        print("\nours over the peer: " + ", ".join(f"{key} {value:.2f}" for key, value in result["ours_over"].items()))
    for name, figures in result["runs"].items():
        for error in sorted({error for run in figures for error in run["errors"]}):
            print(f"\n{name} failed: {error}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="GGUF files")
    parser.add_argument("--foregate", help="our program")
    parser.add_argument("--llama-server", help="llama.cpp's program")
    parser.add_argument("--foregate-args", default="", help="more arguments")
    parser.add_argument("--llama-args", default="-lm none --no-kv-unified --cache-ram 0",
                        help="more arguments (default: %(default)s)")
    parser.add_argument("--clients", type=int, nargs="+", default=[8], help="concurrent streams, and slots")
    parser.add_argument("--requests", type=int, default=2, help="requests of each client in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-p", "--prompt", type=int, default=64, help="prompt tokens")
    parser.add_argument("-n", "--generate", type=int, default=128, help="generated tokens")
    parser.add_argument("--top-k", type=int, default=40)
    parser.add_argument("--top-p", type=float, default=0.95)
    parser.add_argument("--min-p", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=int, default=600, help="seconds for a start and for one read")
    parser.add_argument("--json", type=Path, help="also write everything here")
    options = parser.parse_args()
    if min(options.clients) < 1 or options.requests < 1 or options.rounds < 1:
        parser.error("--clients, --requests and --rounds must be at least 1")
    if not (options.foregate or options.llama_server):
        parser.error("give at least one server")
    return options


def main():
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names = [name for name, path in ((OURS, options.foregate), (PEER, options.llama_server)) if path]
    results = []
    for model in options.models:
        for clients in options.clients:
            results.append(compare(model, clients, names, options))
            print_result(results[-1])
    if options.json:
        options.json.write_text(json.dumps({"arguments": sys.argv[1:], "results": results}, indent=2) + "\n")
    failed = any(run["errors"] for result in results for runs in result["runs"].values() for run in runs)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
