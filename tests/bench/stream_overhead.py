#!/usr/bin/env python3
"""What serving costs beside the model: CPU of the server for each streamed token, over HTTP and gRPC, and how long tokens are under
way, from a stub engine that gives each of many streams a token every 50 ms.

usage: stream_overhead.py --build DIR [--streams N] [--seconds S] [--steps N] [--rounds N]"""
import argparse
import json
import socket
import statistics
import subprocess
import time
from pathlib import Path

INTERVAL_MS = 50


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def measure(build, protocol, options):
    ports = {"http": free_port(), "grpc": free_port()}
    server = subprocess.Popen([build / "stub_server", str(ports["http"]), str(ports["grpc"]), str(INTERVAL_MS), str(options.steps)],
                              stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", ports["http"])).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < until, "the server does not listen"
                time.sleep(0.05)
        time.sleep(0.5)
        done = subprocess.run([build / "stream_client", protocol, str(ports[protocol]), str(server.pid), str(options.streams),
                               str(options.seconds)], capture_output=True, text=True, timeout=options.seconds + 60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    finally:
        server.kill()
        server.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True, type=Path)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--steps", type=int, default=4, help="steps in which all streams get their token, in 50 ms")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found = {"http": [], "grpc": []}
    for _ in range(options.rounds):
        for protocol, results in found.items():
            results.append(measure(options.build.resolve(), protocol, options))
            print(json.dumps(results[-1]), flush=True)
    for protocol, results in found.items():
        of = {key: statistics.median(one[key] for one in results) for key in ("tokens_per_second", "cpu_us_per_token", "added_ms_p50", "added_ms_p99")}
        print(f"{protocol}: {of['cpu_us_per_token']:.1f} us of CPU for each token, {of['tokens_per_second']:.0f} tokens/s, "
              f"added {of['added_ms_p50']:.1f} ms in the middle, {of['added_ms_p99']:.1f} ms p99 (medians of {options.rounds})")


if __name__ == "__main__":
    main()
