"""A pod's life and end by the values of its manifest: the configuration, probes, preStop, grace period that the chart renders,
done to the program as a kubelet does them. Run by run_deploy.py."""
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from manifests_test import ROOT, of, rendered, server_pod

VALUES = {"shutdown": {"preStopSeconds": 1, "timeoutSeconds": 3}, "grpc": {"enabled": False, "port": 50051},
          # Buffers so small that a stream is open as long as nobody reads it.
          "options": {"socket_send_buffer_bytes": 4096, "stream_buffer_bytes": 2048}}
ASKED = {"prompt": "Once upon a time", "temperature": 0, "max_tokens": 1500, "ignore_eos": True}


class Pod(unittest.TestCase):
    def setUp(self):
        manifests = rendered(VALUES)
        self.pod = server_pod(manifests)["spec"]
        self.container = self.pod["containers"][0]
        config = yaml.safe_load(of("ConfigMap", manifests)[0]["data"]["foregate.yaml"])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # What differs from the cluster: where the model lies, and the address.
        config.update(model=str(ROOT / "models" / "demo"), host="127.0.0.1", port=self.port)
        folder = self.enterContext(tempfile.TemporaryDirectory())
        (Path(folder) / "foregate.yaml").write_text(yaml.safe_dump(config))
        arguments = [word.replace("/etc/foregate", folder) for word in self.container["args"]]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("FOREGATE_")}
        self.server = subprocess.Popen([os.environ["FOREGATE_BINARY"], *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean)
        self.addCleanup(self.server.wait)
        self.addCleanup(self.server.kill)

    def get(self, path, body=None, timeout=60):
        """Status and headers; 0: nobody answers."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, {"Content-Type": "application/json"} if body else {})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers
        except OSError:
            return 0, {}

    def probe(self, name):
        probe = self.container[f"{name}Probe"]
        return 200 <= self.get(probe["httpGet"]["path"], timeout=probe["timeoutSeconds"])[0] < 400

    def starts(self):
        probe = self.container["startupProbe"]
        until = time.monotonic() + probe["periodSeconds"] * probe["failureThreshold"]
        while not self.probe("startup"):
            self.assertIsNone(self.server.poll())
            self.assertLess(time.monotonic(), until)
            time.sleep(0.05)
        self.assertTrue(self.probe("readiness") and self.probe("liveness"))

    def open_stream(self):
        connection = self.enterContext(socket.socket())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", self.port))
        text = json.dumps({**ASKED, "stream": True})
        connection.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
                           f"Content-Length: {len(text)}\r\n\r\n{text}".encode())
        lines = connection.makefile("rb", buffering=512)
        self.addCleanup(lines.close)
        while not lines.readline().startswith(b"data: {"):
            pass
        return lines

    def test_the_end_of_a_pod(self):
        self.starts()
        lines = self.open_stream()
        before_stop = time.monotonic()
        subprocess.run(self.container["lifecycle"]["preStop"]["exec"]["command"], check=True)
        self.assertTrue(self.probe("readiness"), "until SIGTERM the pod serves what still comes")
        self.assertEqual(self.get("/v1/completions", json.dumps({**ASKED, "max_tokens": 4}).encode())[0], 200)
        self.server.send_signal(signal.SIGTERM)
        while self.probe("readiness"):
            time.sleep(0.01)
        self.assertTrue(self.probe("liveness"), "a drain is no reason for a restart")
        status, headers = self.get("/v1/completions", json.dumps(ASKED).encode())
        self.assertEqual(status, 503)
        self.assertGreater(int(headers["Retry-After"]), 0)
        self.assertIsNone(self.server.poll(), "a stream is open")
        rest = lines.read()
        self.assertIn(b"data: [DONE]", rest)
        self.assertNotIn(b'"error"', rest)
        self.assertEqual(self.server.wait(30), 0)
        self.assertLess(time.monotonic() - before_stop, self.pod["terminationGracePeriodSeconds"])

    def test_what_does_not_end_in_time_ends_before_it_is_killed(self):
        self.starts()
        lines = self.open_stream()  # nobody reads it on
        begun = time.monotonic()
        self.server.send_signal(signal.SIGTERM)
        grace = self.pod["terminationGracePeriodSeconds"] - VALUES["shutdown"]["preStopSeconds"]
        self.assertEqual(self.server.wait(grace), 0)
        self.assertLess(time.monotonic() - begun, grace)
        rest = lines.read()
        self.assertTrue(b'"error"' in rest or b"[DONE]" not in rest, "cut, and not as if it were whole")


if __name__ == "__main__":
    unittest.main()
