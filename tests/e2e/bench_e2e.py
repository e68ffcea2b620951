#!/usr/bin/env python3
"""`foregate bench` from outside: every output format on the demo model and on a shape, read back; wrong lines refused.

Needs nothing but Python. Looks at no speed. Usage: bench_e2e.py --binary FOREGATE --model DIR --compare SCRIPT --gguf FILE
[unittest options]"""
import argparse
import csv
import io
import json
import math
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

OPTIONS = argparse.Namespace()
SHAPE = ("--shape", "tiny", "--layers", "2", "--quantization", "q4_0", "--skew", "1", "--affinity", "0.5")
FEW = ("-p", "24", "-n", "6", "-r", "2", "-t", "1")
MANY = (*FEW, "-d", "0,16", "-b", "1,3")
# (n_prompt, n_gen, n_depth, n_batch) of MANY, in order; FEW are the first two.
EXPECTED = [(24, 0, 0, 1), (0, 6, 0, 1), (24, 0, 0, 3), (0, 6, 0, 3),
            (24, 0, 16, 1), (0, 6, 16, 1), (24, 0, 16, 3), (0, 6, 16, 3)]
TEXTS = ("build_commit", "backends", "isa", "model_filename", "model_type", "type_k", "type_v", "test_time", "limit_by")
COUNTS = ("model_size", "model_n_params", "n_batch", "n_ubatch", "n_threads", "avg_ns", "avg_ts", "median_ts", "limit_ts",
          "limit_ratio", "bytes_per_token", "ops_per_token", "read_gbps", "int8_gops", "f32_gops", "peak_rss_bytes")


def bench(*words):
    return subprocess.run([str(OPTIONS.binary), "bench", *map(str, words)], capture_output=True, text=True, timeout=300)


class Bench(unittest.TestCase):
    def rows(self, *words):
        done = bench(*words, "-o", "json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def check_rows(self, rows, expected=EXPECTED[:2]):
        found = [tuple(int(row[name]) for name in ("n_prompt", "n_gen", "n_depth", "n_batch")) for row in rows]
        self.assertEqual(found, expected)
        for row in rows:
            for name in TEXTS:
                self.assertTrue(row[name], name)
            for name in COUNTS:
                self.assertGreater(float(row[name]), 0, name)
                self.assertTrue(math.isfinite(float(row[name])), name)
            self.assertAlmostEqual(float(row["limit_ratio"]), float(row["median_ts"]) / float(row["limit_ts"]), 6)

    def check_samples(self, rows):
        for row in rows:
            self.assertEqual((len(row["samples_ns"]), len(row["samples_ts"])), (2, 2))
            self.assertAlmostEqual(row["avg_ts"], sum(row["samples_ts"]) / 2, 3)
            tokens = row["n_batch"] * (row["n_prompt"] + row["n_gen"])
            for nanoseconds, rate in zip(row["samples_ns"], row["samples_ts"]):
                self.assertAlmostEqual(rate * nanoseconds * 1e-9 / tokens, 1.0, 3)

    def test_every_combination_as_json(self):
        rows = self.rows(*SHAPE, *MANY)
        self.check_rows(rows, EXPECTED)
        self.check_samples(rows)
        self.assertEqual(rows[0]["model_filename"], "shape:tiny")
        read = {(row["n_gen"], row["n_depth"], row["n_batch"]): row["bytes_per_token"] for row in rows}
        self.assertGreater(read[6, 16, 1], read[6, 0, 1])  # keys and values of the context
        self.assertLess(read[6, 0, 3], read[6, 0, 1])      # three share the dense weights
        self.assertEqual({row["type_k"] for row in rows}, {"f16"})  # as beside any quantized weights
        *_, wide = self.rows(*SHAPE, *FEW, "-d", "16", "--kv-cache-dtype", "f32")
        self.assertGreater(wide["bytes_per_token"], read[6, 16, 1])

    def test_lines_of_json_and_csv_say_the_same(self):
        lines = [json.loads(line) for line in bench(*SHAPE, *FEW, "-o", "jsonl").stdout.splitlines()]
        self.check_rows(lines)
        self.check_samples(lines)
        table = list(csv.DictReader(io.StringIO(bench(*SHAPE, *FEW, "-o", "csv").stdout), strict=True))
        self.check_rows(table)
        self.assertEqual([*table[0], "samples_ns", "samples_ts"], list(lines[0]))
        for row, other in zip(lines, table):  # what does not depend on the clock
            self.assertEqual(row["bytes_per_token"], float(other["bytes_per_token"]))
            self.assertEqual(row["ops_per_token"], float(other["ops_per_token"]))

    def test_markdown_of_the_model(self):
        done = bench(OPTIONS.model, *FEW, "-d", "16", "-b", "3", "-ctk", "f16")
        self.assertEqual(done.returncode, 0, done.stderr)
        head, note, *table = [line for line in done.stdout.splitlines() if line]
        self.assertIn("qwen3_moe", head)
        self.assertIn("caches", note)
        self.assertEqual({line.count("|") for line in table}, {10})
        self.assertEqual(len(table), 4)
        self.assertTrue(table[-1].startswith("| tg6 x 3 @ d16 | f16 |"), table[-1])

    def test_the_model_by_both_spellings_and_quantized(self):
        plain = self.rows("-m", OPTIONS.model, *FEW)
        self.check_rows(plain)
        packed = self.rows(*FEW, "--quantization", "q8_0", OPTIONS.model)
        self.check_rows(packed)
        self.assertIn("bf16", plain[0]["model_type"])
        self.assertIn("q8_0", packed[0]["model_type"])
        self.assertLess(packed[1]["bytes_per_token"], 0.7 * plain[1]["bytes_per_token"])

    def test_several_numbers_of_threads(self):
        rows = self.rows(*SHAPE, "-p", "8", "-n", "2", "-r", "1", "-t", "1,2")
        self.assertEqual([row["n_threads"] for row in rows], [1, 1, 2, 2])

    def test_experts_on_disk(self):
        with tempfile.TemporaryDirectory(dir=OPTIONS.binary.parent) as folder:
            done = subprocess.run([str(OPTIONS.binary), "pack", *SHAPE, folder], capture_output=True, text=True, timeout=300)
            self.assertEqual(done.returncode, 0, done.stderr)
            whole = self.rows(folder, *FEW)
            half = self.rows(folder, *FEW, "--expert-memory", "50%", "--expert-policy", "lru", "--lookahead", "off")
            fitting = self.rows(folder, *FEW, "--expert-memory", "100%")
            table = bench(folder, *FEW, "--expert-memory", "50%").stdout
        self.check_rows(whole)
        self.check_rows(half)
        self.assertNotIn("expert_memory", whole[0])
        for row, all_in_memory in zip(half, whole):
            self.assertEqual(row["bytes_per_token"], all_in_memory["bytes_per_token"])  # the same experts ran
            self.assertEqual((row["expert_memory"], row["expert_policy"], row["expert_slots"]), ("50%", "lru", 16))
            self.assertGreater(row["expert_misses"], 0)
            self.assertGreater(row["expert_read_bytes_per_token"], 0)
            self.assertGreater(row["disk_gbps"], 0)
            self.assertEqual((row["expert_lookahead"], row["expert_hints"]), ("off", 0))
            self.assertGreaterEqual(row["expert_stall_share"], 0)  # a busy machine has read it before it is waited for
            self.assertLessEqual(row["expert_stall_share"], 1)
            needed = row["expert_hits"] + row["expert_misses"]
            self.assertAlmostEqual(row["expert_hit_rate"], row["expert_hits"] / needed)
            self.assertLess(row["resident_size"], row["model_size"])
        self.assertEqual(half[1]["expert_hits"] + half[1]["expert_misses"], 2 * 6 * 2 * 4)  # runs, tokens, layers, top-k
        for row in fitting:
            self.assertEqual((row["expert_misses"], row["expert_hit_rate"], row["expert_read_bytes_per_token"]), (0, 1, 0))
        self.assertIn("experts: 16 of 32 in memory", table)

    def test_gpt_oss_says_what_it_leaves_out(self):
        words = ("--shape", "gpt-oss-20b", "--layers", "1", "-p", "0", "-n", "1", "-r", "1", "--quantization", "q4_0")
        row, = self.rows(*words)
        self.assertIn("sinks", row["note"])
        self.assertIn("mxfp4", row["model_type"])
        self.assertGreater(row["model_size"], 1e9)
        # One layer of 24, its experts 0.32 GB: in huge pages where the system gives them at all.
        if row["huge_page_bytes"]:
            self.assertGreater(row["huge_page_bytes"], 0.9 * row["model_size"])

    def test_compare_peers_reads_it(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.json"
            done = subprocess.run([sys.executable, "-B", str(OPTIONS.compare), "--foregate", str(OPTIONS.binary), "-t",
                                   "1", "-p", "16", "-n", "4", "-r", "2", "--rounds", "2", "--json", str(out),
                                   str(OPTIONS.gguf)], capture_output=True, text=True, timeout=300)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            tests = json.loads(out.read_text())["models"][0]["tests"]
        self.assertEqual([test["test"] for test in tests], ["pp16", "tg4"])
        for test in tests:
            self.assertEqual(test["engines"]["foregate"]["n"], 4)
            self.assertGreater(test["engines"]["foregate"]["of_limit"], 0)

    def test_wrong_lines(self):
        for words, code, message in (((), 2, "--shape"), (("nowhere",), 1, "nowhere"), (("--shape", "nano"), 2, "olmoe-1b-7b"),
                                     (("--shape", "tiny", "-q", "q2_k"), 1, "mxfp4"),
                                     (("--shape", "tiny", "--isa", "mmx"), 1, "mmx"),
                                     ((OPTIONS.model, "-q", "q5_k"), 1, "quantization")):
            done = bench(*words, "-o", "csv")
            self.assertEqual(done.returncode, code, (words, done.stderr))
            self.assertIn(message, done.stderr)
            self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("binary", "model", "compare", "gguf"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.parse_known_args(namespace=OPTIONS)
    rest = parser.parse_known_args()[1]
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
