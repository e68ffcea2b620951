#!/usr/bin/env python3
"""What deploy/ promises, held against a server that runs: names of series, probes, the drain.

Needs nothing but Python. Usage: deploy_e2e.py --binary FOREGATE --model DIR [unittest options]"""
import argparse
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy"))
import make_metrics  # noqa: E402
from make_metrics import Served  # noqa: E402

OPTIONS = argparse.Namespace()
SERIES = re.compile(r"\b((?:vllm|foregate):\w+|(?:foregate_|moe_|dense_window_|http_)\w+)(?=[{\[\s)\"']|$)")
BODY = {"prompt": "Once upon a time", "temperature": 0}


def health(*flags, **environment):
    """Exit code and output of `foregate health`."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FOREGATE_")}
    done = subprocess.run([OPTIONS.binary, "health", *flags], capture_output=True, text=True, timeout=60, env={**clean, **environment})
    return done.returncode, done.stdout + done.stderr


def used(text):
    """Base names of the series that a text uses: no _total of counters, no _bucket of histograms."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in SERIES.findall(text)}


class Names(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as work:
            cls.series = make_metrics.collect(OPTIONS.binary, OPTIONS.model, work)

    def test_what_boards_alerts_and_scalers_use_is_exported(self):
        deploy = ROOT / "deploy"
        files = [deploy / "grafana" / "foregate.json", deploy / "prometheus" / "alerts.yaml", deploy / "prometheus" / "adapter.yaml",
                 deploy / "helm" / "foregate" / "templates" / "autoscaling.yaml"]
        for path in files:
            text = path.read_text()
            if path.suffix == ".json":
                text = "\n".join(target["expr"] for panel in json.loads(text)["panels"] for target in panel.get("targets", []))
            names = used(text)
            self.assertGreaterEqual(len(names), 2, path)
            self.assertEqual(sorted(names - set(self.series)), [], path)

    def test_the_board_shows_tokens_ends_and_loads_of_experts(self):
        board = (ROOT / "deploy" / "grafana" / "foregate.json").read_text()
        missing = [name for name, (kind, _, _) in self.series.items()
                   if kind == "counter" and name.startswith(("moe_expert_load", "moe_hints", "vllm:request", "vllm:prompt", "vllm:generation", "vllm:prefix")) and name not in board]
        self.assertEqual(missing, [])

    def test_the_table_of_series_says_what_is_so(self):
        """Each of its lines is one of the server's. Series that it does not have yet are printed."""
        have, want = (ROOT / "deploy" / "metrics.md").read_text(), make_metrics.table(self.series)
        rows = [set(re.findall(r"^\| `.*", text, re.MULTILINE)) for text in (have, want)]
        self.assertGreater(len(rows[0]), 60)
        self.assertEqual(sorted(rows[0] - rows[1]), [], "run deploy/make_metrics.py")
        print("\n".join(["not in deploy/metrics.md yet; deploy/make_metrics.py adds them:", *sorted(rows[1] - rows[0])])
              if rows[1] - rows[0] else "every series is in deploy/metrics.md")


class Probes(unittest.TestCase):
    def test_health_command(self):
        with Served(OPTIONS.binary, OPTIONS.model) as served:
            port = str(served.port)
            self.assertEqual(health(FOREGATE_PORT=port), (0, '200 {"status":"ok"}\n'))
            self.assertEqual(health("--live", FOREGATE_PORT=port, FOREGATE_HOST="0.0.0.0"), (0, '200 {"status":"alive"}\n'))
            self.assertEqual(health("--url", f"http://localhost:{port}")[0], 0)
            self.assertEqual(health("--url", f"http://127.0.0.1:{port}/nowhere")[0], 1)
        self.assertEqual(health(FOREGATE_PORT=port)[0], 1)  # nobody listens any more
        for wrong in ("ftp://127.0.0.1", "https://", "http://", "http://x:y", "http://a b"):
            self.assertEqual(health("--url", wrong)[0], 2, wrong)

    def test_a_server_that_says_nothing_is_not_well(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            code, said = health("--timeout", "0.2", FOREGATE_PORT=str(silent.getsockname()[1]))
        self.assertEqual(code, 1)
        self.assertIn("no answer in time", said)

    def test_drain(self):
        """SIGTERM with a stream open: the stream whole, exit code 0."""
        with Served(OPTIONS.binary, OPTIONS.model, "--shutdown-timeout", "60") as served:
            whole = served.request("POST", "/v1/completions", {**BODY, "max_tokens": 200})
            pieces, begun = [], threading.Event()

            def read():
                connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=120)
                connection.request("POST", "/v1/completions", json.dumps({**BODY, "max_tokens": 200, "stream": True, "n": 4}),
                                   {"Content-Type": "application/json"})
                response = connection.getresponse()
                while line := response.readline():
                    pieces.append(line.decode())
                    begun.set()
                connection.close()

            reader = threading.Thread(target=read)
            reader.start()
            self.assertTrue(begun.wait(60))
            served.process.send_signal(signal.SIGTERM)
            reader.join()
            self.assertEqual(served.process.wait(), 0)
        self.assertEqual(pieces[-2:], ["data: [DONE]\n", "\n"])
        text = "".join(choice["text"] for line in pieces if line.startswith("data: {")
                       for choice in json.loads(line[6:])["choices"] if choice["index"] == 0)
        self.assertEqual(text, json.loads(whole[1])["choices"][0]["text"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path)
    options, rest = parser.parse_known_args()
    OPTIONS.binary, OPTIONS.model = options.binary.resolve(), options.model.resolve()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)


if __name__ == "__main__":
    main()
