#!/usr/bin/env python3
"""Bad inputs, each followed by a canary: values that fields do not take, alone and in pairs; forms of answers that explode; texts that
tokenizers choke on; broken HTTP. Nothing may end the server, take it longer than two seconds, be answered with a 5xx other than 503,
or change the canary by a byte; what a case costs the server is held against what it costs its sender.

usage: bad_inputs.py --binary FOREGATE --model DIR [--pairs N] [--broken N] [--every N]"""
import argparse
import http.client
import json
import os
import random
import re
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bad_input_cases import bodies, wire

LIMIT_SECONDS = 2.0
AMPLIFICATION = 100
SLACK_SECONDS, SLACK_BYTES = 0.1, 40 << 20  # what the form of one answer may cost to read, whoever asks; beyond it, its sender counts
FINE = {503, 504}
WIRE = {501, 503, 505}  # of broken HTTP: a coding or a version that there is not


class Server:
    def __init__(self, binary, model, log):
        self.log = log
        self.process = subprocess.Popen([binary, "serve", model, "--port", "0", "--no-grpc", "--served-model-name", "demo", "--max-model-len", "96",
                                         "--header-timeout", "1", "--body-timeout", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.port = None
        threading.Thread(target=self.keep, daemon=True).start()
        until = time.monotonic() + 60
        while not (self.port and self.ready()):
            assert self.process.poll() is None and time.monotonic() < until, "".join(log)
            time.sleep(0.05)

    def keep(self):
        for line in self.process.stderr:
            self.log.append(line)
            found = re.search(r"listening on http://[^ ]*:(\d+)", line)
            if found:
                self.port = int(found.group(1))

    def ready(self):
        try:
            return self.ask("GET", "/health")[0] == 200
        except OSError:
            return False

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers={"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def raw(self, data):
        """The statuses of all answers to these bytes, until the server closes."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            try:
                while piece := connection.recv(65536):
                    answer += piece
            except OSError:
                pass
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]

    def canary(self):
        status, body = self.ask("POST", "/v1/completions", '{"prompt": "Once upon", "max_tokens": 4, "temperature": 0}')
        return json.loads(body)["choices"] if status == 200 else status

    def cpu(self):
        total = 0
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            try:
                total += int(Path(f"/proc/{self.process.pid}/task/{task}/schedstat").read_text().split()[0])
            except OSError:
                pass
        return total / 1e9

    def memory(self, what):
        return int(re.search(what + r":\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text()).group(1)) * 1024

    def forget_peak(self):
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


def own_cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Trial:
    def __init__(self, server):
        self.server, self.findings, self.statuses = server, [], {}
        self.slowest, self.cpu_times, self.memory_times = (0, ""), (0, ""), (0, "")
        self.expected = server.canary()

    def find(self, name, what):
        self.findings.append(f"{name}: {what}")
        print("FOUND", self.findings[-1], flush=True)

    def once(self, send, size):
        server = self.server
        server.forget_peak()
        memory, cpu, own, begin = server.memory("VmRSS"), server.cpu(), own_cpu(), time.monotonic()
        statuses = send()
        seconds = time.monotonic() - begin
        own, cpu = own_cpu() - own, server.cpu() - cpu
        rise = server.memory("VmHWM") - memory
        return statuses, seconds, max(0.0, cpu - SLACK_SECONDS) / max(own, 1e-4), max(0, rise - SLACK_BYTES) / max(size, 1)

    def run(self, name, send, size, wants=None, wire=False):
        try:
            statuses, seconds, cpu, memory = self.once(send, size)
            if seconds > LIMIT_SECONDS:  # a machine that is shared may have been elsewhere
                statuses, seconds, cpu, memory = self.once(send, size)
        except OSError as error:
            return self.find(name, f"no answer: {error}")
        for status in statuses:
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if status >= 500 and status not in (WIRE if wire else FINE):
                self.find(name, f"status {status}")
        if wants and not set(statuses) <= set(wants):
            self.find(name, f"answered {statuses}, not {sorted(wants)}")
        if seconds > LIMIT_SECONDS:
            self.find(name, f"took {seconds:.1f} s")
        for value, what in ((cpu, "CPU"), (memory, "memory")):
            if value > AMPLIFICATION:
                self.find(name, f"{what} x {value:.0f}")
        self.slowest = max(self.slowest, (round(seconds, 2), name))
        self.cpu_times = max(self.cpu_times, (round(cpu, 1), name))
        self.memory_times = max(self.memory_times, (round(memory, 1), name))
        return None

    def check(self, name):
        if self.server.process.poll() is not None:
            self.find(name, "the server died: " + "".join(self.server.log[-20:]))
            return False
        if self.server.canary() != self.expected:
            self.find(name, "the canary has changed")
        return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", type=int, default=700, help="generated pairs of bad fields")
    parser.add_argument("--broken", type=int, default=400, help="generated mutations of a good request's bytes")
    parser.add_argument("--every", type=int, default=1, help="only each N-th case")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    random_source = random.Random(options.seed)
    cases, seen = [], set()
    for name, path, body in bodies(random_source, options.pairs):
        data = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
        if (path, data) not in seen:
            seen.add((path, data))
            cases.append((name, path, data, None))
    for name, data, wants in wire(random_source, options.broken):
        if data not in seen:
            seen.add(data)
            cases.append((name, None, data, wants))
    cases = cases[::options.every]
    log, begin = [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        server = Server(options.binary, options.model, log)
        trial = Trial(server)
        for name, path, data, wants in cases:
            if path is None:
                trial.run(name, lambda: server.raw(data), len(data), wants, wire=True)
            else:
                trial.run(name, lambda: [server.ask("POST", path, data)[0]], len(data))
            if not trial.check(name):
                break
        server.process.terminate()
        clean = server.process.wait(30) == 0
    if not clean:
        trial.find("end", "exit status")
    print(json.dumps({"distinct": len(cases), "seconds": round(time.monotonic() - begin), "seed": options.seed,
                      "statuses": dict(sorted(trial.statuses.items())), "slowest": trial.slowest, "cpu_amplification": trial.cpu_times,
                      "memory_amplification": trial.memory_times, "findings": len(trial.findings)}))
    return 1 if trial.findings else 0


if __name__ == "__main__":
    for variable in ("binary", "model"):
        at = sys.argv.index("--" + variable) + 1 if "--" + variable in sys.argv else 0
        if at:
            sys.argv[at] = str(Path(sys.argv[at]).resolve())
    sys.exit(main())
