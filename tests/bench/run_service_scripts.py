#!/usr/bin/env python3
"""The scripts of service behaviour, each in small against a real server: that they run and that what must always hold does.
Figures are not looked at. Usage: run_service_scripts.py --binary FOREGATE --model DIR [unittest options]"""
import argparse
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
OPTIONS = None


def run(script, *words):
    command = [sys.executable, "-B", HERE / script, "--binary", OPTIONS.binary, "--model", OPTIONS.model, *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=240)
    if done.returncode != 0:
        raise AssertionError(done.stdout + done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


class Scripts(unittest.TestCase):
    def test_overload(self):
        with tempfile.TemporaryDirectory() as work:
            trace = Path(work) / "trace.csv"
            trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.1,374,44\n2023-11-16 18:15:47.1,91,160\n")
            levels = run("overload.py", "--trace", trace, "--seconds", 1, "--probe", 24, "--load", 8, "--width", 2, "--queue", 2)
        self.assertEqual([level["load"] for level in levels], [1.0, 8.0])
        self.assertGreater(levels[0]["in_deadline_per_s"], 0)
        self.assertGreater(levels[1]["refused"], 0)
        self.assertEqual([level["other"] for level in levels], [0, 0])

    def test_static_batches(self):
        for line in run("static_batches.py", "--jobs", 12, "--width", 4, "--rounds", 2, "--mean", 20, "--most", 60, "--cost-tokens", 16):
            self.assertTrue(line["same_answers"])
            self.assertGreaterEqual(line["bound_over_padded"], line["bound_over_ragged"])

    def test_compare_policies(self):
        *_, line = run("compare_policies.py", "--jobs", 12, "--probe", 6, "--rounds", 1, "--long", 60)
        self.assertTrue(line["same_answers"])

    def test_bad_clients(self):
        line, = run("bad_clients.py", "--idle", 100, "--unread", 25, "--drip", 25, "--jobs", 40, "--seconds", 1, "--warm", 20,
                    "--settle", 60)
        self.assertEqual(line["connections_with"], 151)
        self.assertGreater(line["paused_with"], 0)
        self.assertEqual([line[when]["failed"] for when in ("before", "with", "after")], [0, 0, 0])
        self.assertEqual(line["left"], {"connections": 0, "kv_blocks_used": 0, "sequences": 0})

    def test_fair_prefixes(self):
        lines = run("fair_prefixes.py", "--seconds", 1, "--rounds", 1, "--clients", 2, "--depth", 3)
        self.assertEqual([line["policy"] for line in lines], ["fcfs", "fair", "dlpm"])
        self.assertTrue(all(line["answers"] > 0 for line in lines))

    def test_second_turn(self):
        cached, plain = run("second_turn.py", "--conversations", 3, "--words", 60)
        self.assertTrue(cached["same_answers"] and plain["same_answers"])
        self.assertGreater(cached["found"], 0.2)
        self.assertEqual(plain["found"], 0)

    def test_cancel_cost(self):
        line, = run("cancel_cost.py", "--cancels", 5, "--neighbours", 2, "--tokens", 40)
        self.assertEqual(line["n"], 5)
        self.assertTrue(line["same_texts"])

    def test_drain_moments(self):
        line, = run("drain_moments.py", "--moments", 3, "--clients", 4)
        self.assertEqual(line["without_an_end"], 0)
        self.assertEqual(line["exit_codes"], {"0": 3})

    def test_soak(self):
        line, = run("soak.py", "--minutes", 0.1)
        self.assertEqual((line["kv_blocks_used_at_end"], line["running_at_end"]), (0, 0))
        self.assertGreater(line["cancelled"], 0)

    def test_batch_memory(self):
        command = [sys.executable, "-B", HERE / "compare_batch.py", "--foregate", OPTIONS.binary, "--memory", "200", OPTIONS.model]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=240)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("200 lines: 200 answered, of them 0 failed", json.loads(done.stdout)["said"][0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], "-v", *rest])
