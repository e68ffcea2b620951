#!/usr/bin/env python3
"""Two replicas behind a gateway: a picker that reads their metrics, and clients that outlive a replica.

The picker does what an endpoint picker of the Gateway API inference extension does: it scrapes queue and KV use, and names the
replica in x-gateway-destination-endpoint, where the gateway sends the request. When a replica dies mid-stream, the client asks
again with the prompt and the tokens it has; the tokens that follow are those of an unbroken answer, greedy and seeded.

Needs nothing but Python. Usage: gateway_e2e.py --binary FOREGATE --model DIR [unittest options]"""
import argparse
import http.client
import json
import re
import socket
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy"))
from make_metrics import Served  # noqa: E402

OPTIONS = argparse.Namespace()
DESTINATION = "x-gateway-destination-endpoint"
PICKED_BY = ("vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")
# Buffers so small that a long stream cannot be finished before its reader reads: whoever dies mid-stream really does.
SMALL = ("--socket-send-buffer-bytes", "4096", "--stream-buffer-bytes", "2048")


def figures(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return {name: float(re.search(rf"^{name}\{{.*\}} (\S+)$", text, re.MULTILINE).group(1)) for name in PICKED_BY}


def pick(ports):
    """The replica with the shortest queue, then with the most room for keys and values; those that do not answer are left out."""
    loads = []
    for port in ports:
        try:
            load = figures(port)
        except OSError:
            continue
        loads.append(([load[name] for name in PICKED_BY], port))
    return min(loads)[1]


class Gateway:
    """A proxy of bytes: each connection goes to the replica that the picker names."""

    def __init__(self, ports):
        self.ports, self.sent_to = ports, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.forward, args=(client,), daemon=True).start()

    def forward(self, client):
        with client:
            request = b""
            while b"\r\n\r\n" not in request or len(request.split(b"\r\n\r\n", 1)[1]) < self.length(request):
                request += client.recv(65536)
            port = pick(self.ports)
            self.sent_to.append(port)
            request = request.replace(b"\r\n", f"\r\n{DESTINATION}: 127.0.0.1:{port}\r\n".encode(), 1)
            replica = socket.socket()
            replica.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with replica:
                replica.connect(("127.0.0.1", port))
                replica.sendall(request)
                try:
                    while piece := replica.recv(1024):
                        client.sendall(piece)
                except OSError:
                    pass  # the replica died; the client sees the stream end

    @staticmethod
    def length(request):
        return int(re.search(rb"content-length: (\d+)", request, re.IGNORECASE).group(1))

    def close(self):
        self.listener.close()


class Broken(Exception):
    """The stream ended without its end."""


def stream(port, body, tokens):
    """Appends the tokens of the answer as they come, and says how many there are. Small buffers: the server cannot run ahead."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(120)
        connection.connect(("127.0.0.1", port))
        text = json.dumps({**body, "stream": True, "return_token_ids": True})
        connection.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
                           f"Content-Length: {len(text)}\r\n\r\n{text}".encode())
        reason = None
        with connection.makefile("rb", buffering=512) as lines:
            try:
                for line in lines:
                    if not line.startswith(b"data: {"):
                        if line == b"data: [DONE]\n" and reason:
                            return
                        continue
                    event = json.loads(line[6:])
                    if "error" in event:
                        raise Broken(event["error"]["message"])
                    for choice in event["choices"]:
                        tokens.extend(choice.get("token_ids") or [])
                        reason = choice["finish_reason"] or reason
                        yield len(tokens)
            except (OSError, ValueError) as error:
                raise Broken(str(error)) from error
        raise Broken("the connection closed")


def whole(port, prompt, body, on_token=lambda count: None, tries=3):
    """All tokens of an answer, however often a replica dies: each try goes on from what the ones before it brought."""
    tokens = []
    for _ in range(tries):
        rest = {**body, "prompt": prompt + tokens, "max_tokens": body["max_tokens"] - len(tokens)}
        try:
            for count in stream(port, rest, tokens):
                on_token(count)
            return tokens
        except Broken:
            time.sleep(0.1)
    raise AssertionError("no replica gave the whole answer")


class Replicas(unittest.TestCase):
    def setUp(self):
        self.replicas = [self.enterContext(Served(OPTIONS.binary, OPTIONS.model, "--max-num-seqs", "2", *SMALL)) for _ in range(2)]
        self.gateway = Gateway([replica.port for replica in self.replicas])
        self.addCleanup(self.gateway.close)
        status, text = self.replicas[0].request("POST", "/tokenize", {"prompt": "Once upon a time"})
        self.assertEqual(status, 200, text)
        self.prompt = json.loads(text)["tokens"]

    def test_the_picker_leaves_a_busy_replica_alone(self):
        busy, free = self.replicas
        body = {"prompt": self.prompt, "max_tokens": 1500, "ignore_eos": True, "n": 8}
        text = json.dumps(body)
        with socket.create_connection(("127.0.0.1", busy.port)) as held:
            held.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
            while figures(busy.port)["vllm:num_requests_waiting"] == 0:
                time.sleep(0.01)
            tokens = whole(self.gateway.port, self.prompt, {"max_tokens": 4, "temperature": 0})
            self.assertEqual(len(tokens), 4)
            self.assertEqual(self.gateway.sent_to, [free.port])

    def test_an_answer_outlives_its_replica(self):
        length = 400
        for settings in ({"temperature": 0}, {"temperature": 1, "seed": 7, "top_p": 0.95}):
            body = {**settings, "max_tokens": length, "ignore_eos": True}
            with self.subTest(str(settings)), Served(OPTIONS.binary, OPTIONS.model) as alone:
                want = whole(alone.port, self.prompt, body)
                self.assertEqual(len(want), length)
                victims = [Served(OPTIONS.binary, OPTIONS.model, *SMALL).__enter__() for _ in range(2)]
                self.addCleanup(lambda both=victims: [one.__exit__() for one in both])
                gateway = Gateway([one.port for one in victims])
                self.addCleanup(gateway.close)
                killed = []

                def kill(count):
                    if count >= 5 and not killed:
                        killed.append(count)
                        victim = next(one for one in victims if one.port == gateway.sent_to[0])
                        victim.process.kill()
                        victim.process.wait(60)

                got = whole(gateway.port, self.prompt, body, kill)
                self.assertEqual(got, want)
                self.assertEqual(len(set(gateway.sent_to)), 2, "the other replica went on")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path)
    options, rest = parser.parse_known_args()
    OPTIONS.binary, OPTIONS.model = options.binary.resolve(), options.model.resolve()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)


if __name__ == "__main__":
    main()
