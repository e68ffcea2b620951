#!/usr/bin/env python3
"""`foregate bench serve` against a server that runs: every dataset, both endpoints, results, plot, failures.

Needs nothing but Python. Usage: bench_serve_e2e.py --binary FOREGATE --model DIR [unittest options]"""
import argparse
import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy"))
from make_metrics import Served  # noqa: E402

OPTIONS = argparse.Namespace()


def bench(*flags):
    return subprocess.run([OPTIONS.binary, "bench", "serve", *map(str, flags)], capture_output=True, text=True, timeout=300)


class BenchServe(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.TemporaryDirectory()
        cls.served = Served(OPTIONS.binary, OPTIONS.model, "--max-num-seqs", "8").__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.served.__exit__()
        cls.work.cleanup()

    def counter(self, name):
        text = self.served.request("GET", "/metrics")[1]
        return sum(float(value) for value in re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE))

    def run_bench(self, *flags):
        """The report, held against what the server counted."""
        out = Path(self.work.name) / "result.json"
        names = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total")
        before = [self.counter(name) for name in names]
        done = bench("--base-url", f"http://127.0.0.1:{self.served.port}", "--result-filename", out, *flags)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        report = json.loads(out.read_text())
        if isinstance(report, dict):
            self.assertEqual(report["failed"], 0)
            self.assertEqual(report["completed"], report["num_prompts"])
            after = [self.counter(name) for name in names]
            self.assertEqual([report["total_output_tokens"], report["total_input_tokens"]], [b - a for a, b in zip(before, after)])
            for of in ("ttft", "tpot", "itl", "e2el"):
                self.assertLessEqual(report[f"median_{of}_ms"], report[f"p99_{of}_ms"])
            self.assertLessEqual(report["p99_ttft_ms"], report["p99_e2el_ms"])
        return report

    def test_random(self):
        report = self.run_bench("--num-prompts", 12, "--input-len", 20, "--output-len", 10, "--ignore-eos", "--max-concurrency", 4,
                                "--goodput", "e2el:600000", "ttft:600000")
        self.assertEqual(report["total_output_tokens"], 120)
        self.assertAlmostEqual(report["request_goodput"], report["request_throughput"])
        self.assertGreater(report["total_input_tokens"], 12 * 20)
        none = self.run_bench("--num-prompts", 2, "--output-len", 4, "--goodput", "ttft:0.000001")
        self.assertEqual(none["request_goodput"], 0)

    def test_chat_prefixes_find_the_cache(self):
        hits = self.counter("vllm:prefix_cache_hits_total")
        self.run_bench("--backend", "openai-chat", "--dataset-name", "prefix_repetition", "--num-prompts", 8, "--num-prefixes", 2,
                       "--prefix-len", 60, "--input-len", 10, "--output-len", 4, "--max-concurrency", 1)
        self.assertGreater(self.counter("vllm:prefix_cache_hits_total"), hits)

    def test_traces_and_files(self):
        folder = Path(self.work.name)
        (folder / "azure.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.5,12,3\n2023-11-16 18:15:46.6,4,5\n")
        azure = self.run_bench("--dataset-name", "trace", "--dataset-path", folder / "azure.csv", "--ignore-eos")
        self.assertEqual(azure["total_output_tokens"], 8)
        (folder / "mooncake.jsonl").write_text('{"timestamp": 0, "input_length": 9, "output_length": 2, "hash_ids": [1]}\n' * 3)
        mooncake = self.run_bench("--dataset-name", "trace", "--dataset-path", folder / "mooncake.jsonl", "--ignore-eos")
        self.assertEqual((mooncake["completed"], mooncake["total_output_tokens"]), (3, 6))
        (folder / "asks.jsonl").write_text('{"prompt": "Once upon a time", "max_tokens": 3}\n')
        asks = self.run_bench("--dataset-name", "custom", "--dataset-path", folder / "asks.jsonl", "--num-prompts", 4, "--ignore-eos")
        self.assertEqual(asks["total_output_tokens"], 12)
        (folder / "share.json").write_text(json.dumps([{"conversations": [{"from": "human", "value": "Tell me a story."},
                                                                          {"from": "gpt", "value": "a b c"}]}]))
        share = self.run_bench("--dataset-name", "sharegpt", "--dataset-path", folder / "share.json", "--num-prompts", 2, "--ignore-eos",
                               "--save-detailed", "--num-warmups", 0, "--ready-check-timeout-sec", 0)
        self.assertEqual(share["output_lens"], [4, 4])
        for first, gaps, whole in zip(share["ttfts"], share["itls"], share["e2els"]):
            self.assertLessEqual(len(gaps), 4)  # the end may have text too
            self.assertAlmostEqual(first + sum(gaps), whole)

    def test_named_results(self):
        folder = Path(self.work.name) / "made"
        done = bench("--base-url", f"http://127.0.0.1:{self.served.port}", "--num-prompts", 2, "--input-len", 8, "--output-len", 4,
                     "--save-result", "--result-dir", folder, "--label", "mine", "--metadata", "machine=small",
                     "--num-warmups", 1, "--ready-check-timeout-sec", 60, "--percentile-metrics", "ttft", "--metric-percentiles", "75")
        self.assertEqual(done.returncode, 0, done.stderr)
        (written,) = folder.iterdir()
        self.assertTrue(written.name.startswith("mine-infqps-"), written.name)
        report = json.loads(written.read_text())
        self.assertEqual((report["machine"], report["label"], report["num_prompts"]), ("small", "mine", 2))
        self.assertIn("p75_ttft_ms", report)
        self.assertNotIn("mean_itl_ms", report)

    def test_a_sweep_is_drawn(self):
        svg = Path(self.work.name) / "plot.svg"
        reports = self.run_bench("--num-prompts", 4, "--input-len", 8, "--output-len", 4, "--request-rate", "20,200,inf", "--plot", svg)
        self.assertEqual([report["request_rate"] for report in reports], [20, 200, "inf"])
        self.assertEqual(svg.read_text().count("<polyline"), 4)

    def test_failures_are_told(self):
        done = bench("--base-url", f"http://127.0.0.1:{self.served.port}", "--num-prompts", 2, "--model", "no-such-model")
        self.assertEqual(done.returncode, 1)
        self.assertIn("failed 2 times: status 404", done.stdout)
        self.assertEqual(bench("--base-url", "http://127.0.0.1:1", "--num-prompts", 1).returncode, 1)
        for wrong in (("--request-rate", "fast"), ("--goodput", "ttft"), ("--base-url", "https://x"), ("--dataset-name", "sonnet"),
                      ("--dataset-name", "custom", "--dataset-path", "/nowhere")):
            self.assertEqual(bench(*wrong).returncode, 2, wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path)
    options, rest = parser.parse_known_args()
    OPTIONS.binary, OPTIONS.model = options.binary.resolve(), options.model.resolve()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)


if __name__ == "__main__":
    main()
