"""What the programs about ranks share: what is asked, figures of /metrics, processes of ranks, and a test case that knows
the text of one process. Not a program."""
import json
import os
import re
import shutil
import threading
import time
import unittest
from pathlib import Path

from pack_e2e import OPTIONS, Served

BODY = {"model": "demo", "prompt": "Once upon a time", "max_tokens": 48, "temperature": 0, "logprobs": 2}
PROMPTS = ["Once upon a time", "The dog", "A small boat", "Question: what is 3 + 4?"]


def figure(served, name):
    text = served.request("GET", "/metrics")[1]
    return sum(float(value) for value in re.findall(rf"^{name}\{{[^}}]*\}} (\S+)$", text, re.MULTILINE))


def ask(served, **changes):
    return served.request("POST", "/v1/completions", {**BODY, **changes})


def answers(served):
    got = []
    for prompt in PROMPTS:
        status, text = ask(served, prompt=prompt)
        assert status == 200, text
        got.append(json.loads(text)["choices"])
    return got


def workers(served):
    """Processes of ranks that the server started, oldest first."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        state, parent = stat.rpartition(")")[2].split()[:2]
        if int(parent) == served.process.pid and state != "Z":
            found.append(int(pid))
    return sorted(found)


class RankTest(unittest.TestCase):
    """`want`: what one process answers."""

    @classmethod
    def setUpClass(cls):
        shutil.rmtree(OPTIONS.work, ignore_errors=True)
        OPTIONS.work.mkdir(parents=True)
        with Served(OPTIONS.model) as served:
            cls.want = answers(served)
            assert figure(served, "moe_exchange_rows_total") == 0

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(OPTIONS.work, ignore_errors=True)

    def start_long(self, served, request=None):
        """Three long requests, once rows of them have gone to other ranks: their threads, and where answers come."""
        got = []
        request = request or (lambda: ask(served, max_tokens=1900, ignore_eos=True))
        running = [threading.Thread(target=lambda: got.append(request())) for _ in range(3)]
        before = figure(served, "moe_exchange_rows_total")
        for thread in running:
            thread.start()
        until = time.monotonic() + 60
        while figure(served, "moe_exchange_rows_total") == before:
            self.assertLess(time.monotonic(), until, "nothing went to the rank")
            time.sleep(0.005)
        return running, got

    def ended_explicitly(self, got):
        self.assertTrue(any(status != 200 for status, _ in got), "the rank was not missed")
        for status, text in got:
            self.assertTrue(status == 200 or "error" in json.loads(text), text)

    def recover(self, served):
        """Asks until an answer comes; everything before it is an explicit failure, and the text is right."""
        end = time.monotonic() + 60
        while True:
            status, text = ask(served)
            if status == 200:
                self.assertEqual(json.loads(text)["choices"], self.want[0])
                return
            self.assertIn(status, (500, 502, 503), text)
            self.assertIn("error", json.loads(text))
            self.assertLess(time.monotonic(), end, "it does not serve again")
            time.sleep(0.05)
