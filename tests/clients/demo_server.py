"""Starts `foregate serve` for the tests of the clients. Needs nothing but Python."""
import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request


class DemoServer:
    """A server on free ports, ready when made; `stop()` ends it. A context manager."""

    def __init__(self, binary, model, *flags):
        self.log = []
        self.process = subprocess.Popen(
            [str(binary), "serve", str(model), "--port", "0", "--grpc-port", "0", "--served-model-name", "demo", *flags],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self._keep, daemon=True).start()
        try:
            self.http = f"http://127.0.0.1:{self._port(r'listening on http://[^ ]*:([0-9]+)')}"
            self.grpc = f"127.0.0.1:{self._port('gRPC listens on port ([0-9]+)')}"
            self._wait(lambda: self.status("/health") == 200, "not ready")
        except BaseException:
            self.stop()
            raise

    def _keep(self):
        for line in self.process.stderr:
            self.log.append(line)

    def _wait(self, condition, what, seconds=30):
        until = time.monotonic() + seconds
        while not (found := condition()):
            assert self.process.poll() is None and time.monotonic() < until, what + "\n" + "".join(self.log)
            time.sleep(0.02)
        return found

    def _port(self, pattern):
        return self._wait(lambda: re.search(pattern, "".join(self.log)), "no port").group(1)

    def status(self, path):
        try:
            return urllib.request.urlopen(self.http + path, timeout=10).status
        except urllib.error.HTTPError as error:
            return error.code

    def text(self, path):
        return urllib.request.urlopen(self.http + path, timeout=10).read().decode()

    def post(self, path, body):
        request = urllib.request.Request(self.http + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=60))

    def metric(self, name, **labels):
        return sum(float(line.rsplit(" ", 1)[1]) for line in self.text("/metrics").splitlines()
                   if re.match(re.escape(name) + r"(\{| )", line) and all(f'{k}="{v}"' in line for k, v in labels.items()))

    def wait_until_idle(self):
        self._wait(lambda: self.metric("vllm:num_requests_running") == 0, "work goes on")

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
