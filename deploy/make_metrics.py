#!/usr/bin/env python3
"""Writes metrics.md beside this file: every series of /metrics, as a server says itself.

It starts `foregate serve` with the demo model packed, once on two ranks, once with experts and dense weights partly on
disk and with drafts, and asks once.
Usage: make_metrics.py --binary FOREGATE --model DIR [--check]   Needs nothing but Python."""
import argparse
import http.client
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

OUT = Path(__file__).resolve().parent / "metrics.md"
HEAD = """# Every series of `/metrics`

Made by `deploy/make_metrics.py` from what a running server says of itself. Names that begin with `vllm:` mean what they mean
there; `moe_*` are about experts, `dense_window_*` appear where dense weights pass through memory, `moe_calibrated_*` where costs
were measured, `moe_exchange_*` and those of ranks where there is more than one, `vllm:spec_decode_*` where something drafts. A GPU
that does not hold all experts adds `moe_device_*` (hits, misses, fetches, evictions, slots, copies ahead, speed of the link),
`moe_host_computed_total` and a pair of tiers to `moe_expert_loaded_bytes_total`. A certificate adds `foregate_tls_*` (handshakes and
reloads by result, the certificate's end), `--files-dir` `foregate_batches_*`, `--span-file` `foregate_spans_*`. Histograms have `_bucket`, `_sum` and `_count`.
What to watch and what to do is in `deploy/README.md`.

| Series | Kind | Labels | Meaning |
|---|---|---|---|
"""


class Served:
    """One run of `foregate serve` on any free port, ready when entered, drained when left."""

    def __init__(self, binary, model, *flags, env=None):
        command = [str(binary), "serve", str(model), "--port", "0", "--grpc-port", "0", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env)
        self.port, self.said = None, []
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"listening on http://[^ ]*:(\d+)", line):
                self.port = int(found.group(1))
                break
        self.reader = threading.Thread(target=lambda: self.said.extend(self.process.stderr))
        self.reader.start()

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def __enter__(self):
        until = time.monotonic() + 120
        while self.port is None or self.request("GET", "/health")[0] != 200:
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()
                raise RuntimeError("the server is not ready: " + "".join(self.said))
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)
        self.reader.join()
        self.process.stderr.close()


def parsed(text):
    """{name: (kind, help, labels)} of an exposition; histograms under their own name."""
    series = {}
    for name, said in re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE):
        kind = re.search(rf"^# TYPE {re.escape(name)} (\w+)$", text, re.MULTILINE).group(1)
        labels = set()
        for found in re.findall(rf"^{re.escape(name)}(?:_bucket|_sum|_count)?\{{([^}}]*)\}}", text, re.MULTILINE):
            labels |= set(re.findall(r'(\w+)="', found)) - {"le"}
        series[name] = (kind, said, sorted(labels))
    return series


def collect(binary, model, work):
    """What servers export after one answer: one of two ranks, one with drafts and with experts and dense weights partly on disk."""
    packed = Path(work) / "packed"
    done = subprocess.run([binary, "pack", model, packed], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    on_disk = ("--expert-memory", "40%", "--dense-memory", "60%", "--trace-routes", str(Path(work) / "routes.trace"),
               "--speculative-config", json.dumps({"method": "ngram", "num_speculative_tokens": 2}))
    series = {}
    for flags in (("--expert-parallel-size", "2", "--expert-memory", "60%", "--placement", "auto"), on_disk):
        with Served(binary, packed, *flags) as served:
            status, text = served.request("POST", "/v1/completions", {"prompt": "Once upon a time", "max_tokens": 8})
            if status != 200:
                raise RuntimeError(text)
            series |= parsed(served.request("GET", "/metrics")[1])
    return series


def table(series):
    lines = [f"| `{name}` | {kind} | {', '.join(labels) or '-'} | {said} |\n" for name, (kind, said, labels) in sorted(series.items())]
    return HEAD + "".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        text = table(collect(options.binary, options.model, work))
    if options.check:
        same = OUT.exists() and OUT.read_text() == text
        print("metrics.md is current" if same else "metrics.md is stale: run deploy/make_metrics.py")
        return 0 if same else 1
    OUT.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
