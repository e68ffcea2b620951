#!/usr/bin/env python3
"""Ranks with a GPU each, in emulation and with a double of NCCL: the text of one GPU whichever way rows go, and a rank
that is killed, a call of NCCL that is never done and one that fails: requests fail explicitly, and it serves again.

Needs nothing but Python. Usage: gpu_rank_e2e.py --binary FOREGATE --model DIR --work DIR --module PATH --nccl PATH
(--model: with a tokenizer; the weights are those of tests/golden/qwen3-moe-top4-norm)"""
import json
import os
import shutil
import signal
import sys
import time
import unittest
from pathlib import Path

import pack_e2e
from pack_e2e import OPTIONS, Served, foregate
from ranks import RankTest, figure, workers

WEIGHTS = Path(__file__).resolve().parents[1] / "golden" / "qwen3-moe-top4-norm"
PROMPTS = [[5, 9, 11, 40, 23], [7, 31, 2], [18, 44, 6, 3, 52, 21, 8]]
MODULE, NCCL = (sys.argv.pop(sys.argv.index(flag) + 1) for flag in ("--module", "--nccl"))
for flag in ("--module", "--nccl"):
    sys.argv.remove(flag)


def ask(served, prompt, tokens=8):
    body = {"model": "demo", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "logprobs": 2}
    return served.request("POST", "/v1/completions", body)


def answers(served):
    got = []
    for prompt in PROMPTS:
        status, text = ask(served, prompt)
        assert status == 200, text
        got.append(json.loads(text)["choices"])
    return got


class GpuRanks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(OPTIONS.work, ignore_errors=True)
        OPTIONS.work.mkdir(parents=True)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (OPTIONS.work / name).symlink_to(OPTIONS.model / name)
        for name in ("config.json", "model.safetensors"):
            (OPTIONS.work / name).symlink_to(WEIGHTS / name)
        with cls.serve(1) as served:
            cls.want = answers(served)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(OPTIONS.work, ignore_errors=True)

    @staticmethod
    def serve(ranks, *flags, planted=""):
        os.environ["FOREGATE_FAKE_NCCL"] = planted
        return Served(OPTIONS.work, "--device", "cuda", "--cuda-module", MODULE, "--nccl-library", NCCL, "--max-num-seqs", "4",
                      "--max-num-batched-tokens", "32", "--expert-parallel-size", str(ranks), *flags)

    def recover(self, served):
        end = time.monotonic() + 30
        while True:
            status, text = ask(served, PROMPTS[0])
            if status == 200:
                self.assertEqual(json.loads(text)["choices"], self.want[0])
                return
            self.assertIn("error", json.loads(text))
            self.assertLess(time.monotonic(), end, "it does not serve again")
            time.sleep(0.05)

    def test_the_text_is_that_of_one_gpu(self):
        bytes_by = {}
        for ranks, way in ((2, "line"), (2, "auto"), (3, "nccl")):
            with self.serve(ranks, "--exchange-transport", way) as served:
                self.assertEqual(answers(served), self.want)
                nccl = way != "line"
                self.assertEqual(figure(served, "moe_exchange_nccl_ranks"), ranks - 1 if nccl else 0)
                self.assertEqual(figure(served, "moe_exchange_nccl_bytes_total") > 0, nccl)
                bytes_by[ranks, way] = figure(served, "moe_exchange_bytes_total")
                says = json.loads(served.request("GET", "/version")[1])["experts"]
                self.assertEqual("rows by NCCL" in says, nccl, says)
        self.assertEqual(bytes_by[2, "line"], bytes_by[2, "auto"], "what crosses does not depend on the way")

    def test_a_rank_that_dies_is_followed_and_joins_again(self):
        with self.serve(2) as served:
            running, got = RankTest.start_long(self, served, lambda: ask(served, PROMPTS[0], 120))
            old = workers(served)
            os.kill(old[0], signal.SIGKILL)
            for thread in running:
                thread.join()
            RankTest.ended_explicitly(self, got)
            self.recover(served)
            self.assertNotEqual(workers(served), old)
            self.assertEqual(figure(served, "moe_exchange_nccl_ranks"), 1)
            self.assertEqual(answers(served), self.want)

    # The first 40 groups of each process pass: a rank that was started again serves a little, too.
    def test_nccl_that_stops_or_breaks_is_an_explicit_failure(self):
        for planted in ("stops@1:40", "breaks@0:40"):
            with self.serve(2, "--health-stall-limit", "1", planted=planted) as served:
                start = time.monotonic()
                status, text = ask(served, PROMPTS[0], 100)
                took = time.monotonic() - start
                self.assertNotEqual(status, 200)
                self.assertIn("rank 1 does not serve", json.loads(text)["error"]["message"])
                self.assertLess(took, 20)
                if planted.startswith("stops"):
                    self.recover(served)
                    self.assertGreaterEqual(figure(served, "foregate_rank_restarts_total"), 1)

    def test_what_cannot_be_is_refused_or_said(self):
        command = ("serve", OPTIONS.work, "--port", "0", "--device", "cuda", "--cuda-module", MODULE, "--expert-parallel-size", "2")
        for flags, says in ((("--exchange", "one-all-to-all"), "exchange"), (("--placement", "auto"), "placement"),
                            (("--cpu-moe",), "cpu-moe"), (("--expert-memory", "50%"), "expert-memory"),
                            (("--exchange-transport", "nccl", "--nccl-library", "/nowhere/libnccl.so"), "/nowhere")):
            done = foregate(*command, *flags)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(says, done.stderr)
        with self.serve(2, planted="no-init") as served:
            self.assertEqual(answers(served), self.want)
            self.assertEqual(figure(served, "moe_exchange_nccl_bytes_total"), 0)
        self.assertIn("not by NCCL: ncclCommInitRankConfig", served.said)


if __name__ == "__main__":
    pack_e2e.main()
