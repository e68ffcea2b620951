"""Starts the program under test and talks to it, by the openai client and by raw bytes."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import openai
import pytest

STORY = [{"role": "user", "content": "Tell me a story about a fox."}]


class Server:
    """One running `foregate serve`."""

    def __init__(self, *flags, model=None, wait=True, env=None):
        command = [os.environ["FOREGATE_E2E_BINARY"], "serve", model or os.environ["FOREGATE_E2E_MODEL"], "--port", "0",
                   "--served-model-name", "demo", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env=dict(os.environ, **(env or {})))
        self.log, self.out, self.port = [], [], None
        self.readers = [threading.Thread(target=self._keep, args=pair, daemon=True)
                        for pair in ((self.process.stderr, self.log), (self.process.stdout, self.out))]
        for reader in self.readers:
            reader.start()
        self.wait_for(lambda: self._find_port() or self.process.poll() is not None, "no port")
        if wait:
            self.wait_for(lambda: self.process.poll() is not None or self.get("/health")[0] == 200, "not ready")
            assert self.process.poll() is None, "".join(self.log)

    def _keep(self, pipe, lines):
        for line in pipe:
            lines.append(line)

    def _find_port(self):
        found = re.search(r"listening on https?://[^ ]*:(\d+)", "".join(self.log))
        self.port = int(found.group(1)) if found else None
        return self.port

    @staticmethod
    def wait_for(condition, what, seconds=30):
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, what
            time.sleep(0.02)

    def client(self, **options):
        return openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=options.pop("api_key", "none"),
                             max_retries=0, timeout=60, **options)

    def get(self, path, headers=None, method="GET", body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read().decode(), response.headers
        finally:
            connection.close()

    def post(self, path, body, headers=None):
        text = body if isinstance(body, (str, bytes)) else json.dumps(body)
        return self.get(path, {"Content-Type": "application/json", **(headers or {})}, "POST", text)

    def metric(self, name, **labels):
        """Sum of the series of a name whose labels include the given ones."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            if re.match(re.escape(name) + r"(\{| )", line) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def raw(self, receive_buffer=None):
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def exchange(self, data):
        """Sends bytes, then reads until the server closes or 5 s pass."""
        with self.raw() as connection:
            connection.settimeout(5)
            answer = b""
            try:
                connection.sendall(data)
            except OSError:
                pass
            try:
                while piece := connection.recv(65536):
                    answer += piece
            except OSError:
                pass
            return answer

    def idle(self):
        return self.metric("vllm:num_requests_running") == 0 and self.metric("vllm:kv_cache_usage_perc") == 0

    def stop(self, seconds=20):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()


@pytest.fixture
def start():
    """Makes servers that end with the test."""
    servers = []

    def make(*flags, **options):
        servers.append(Server(*flags, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="session")
def server():
    """One server for all tests that do not need flags of their own."""
    running = Server("--header-timeout", "1", "--body-timeout", "2")
    yield running
    assert running.process.poll() is None, "the server died: " + "".join(running.log)
    assert running.stop() == 0


@pytest.fixture
def client(server):
    return server.client()


@pytest.fixture
def canary(server):
    """A request whose answer must be the same, byte for byte, after what the test does."""
    def ask():
        status, body, _ = server.post("/v1/chat/completions", {"messages": STORY, "temperature": 0, "max_tokens": 12})
        assert status == 200, body
        return json.loads(body)["choices"]

    before = ask()
    yield
    assert ask() == before
