#!/usr/bin/env python3
"""`foregate batch` as a user runs it: killed at random moments and taken up, signals, compressed input, faults, and the
answers of the server for the same bodies."""
import argparse
import gzip
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest
import urllib.request
from pathlib import Path

OPTIONS = None
REQUESTS = 60
KILLS = 50


def body(number):
    if number % 3 == 0:
        return "/v1/chat/completions", {"messages": [{"role": "user", "content": f"Tell me about the number {number}."}],
                                        "max_tokens": 8 + number % 17, "temperature": 0.8}
    return "/v1/completions", {"prompt": f"Once upon a time, {number} foxes", "max_tokens": 4 + number % 29,
                               "temperature": 0 if number % 2 else 1.0, "logprobs": 1}


def make_lines(count):
    lines = []
    for number in range(count):
        url, asked = body(number)
        lines.append(json.dumps({"custom_id": f"id-{number}", "method": "POST", "url": url, "body": asked}))
    lines.insert(7, "this is no JSON")
    lines.insert(19, json.dumps({"custom_id": "hot", "url": "/v1/completions", "body": {"prompt": "a", "temperature": -1}}))
    return lines


def command(*words):
    return [str(OPTIONS.binary), "batch", str(OPTIONS.model), "--threads", "1", "--log-level", "warn", *map(str, words)]


def run(*words, **keywords):
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=120, **keywords)


class Batch(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(OPTIONS.work, ignore_errors=True)
        OPTIONS.work.mkdir(parents=True)
        cls.input = OPTIONS.work / "in.jsonl"
        cls.input.write_text("\n".join(make_lines(REQUESTS)))
        cls.whole = OPTIONS.work / "whole.jsonl"
        began = time.monotonic()
        done = run("-i", cls.input, "-o", cls.whole)
        cls.seconds = time.monotonic() - began
        assert done.returncode == 0, done.stderr
        cls.said = done.stderr

    def test_every_line_has_its_answer(self):
        lines = [json.loads(line) for line in self.whole.read_text().splitlines()]
        self.assertEqual(len(lines), REQUESTS + 2)
        by_id = {line["custom_id"]: line for line in lines}
        self.assertEqual([line["custom_id"] for line in lines][:7], [f"id-{i}" for i in range(7)])
        self.assertIn("line", by_id[None]["error"])
        self.assertEqual(by_id["hot"]["response"]["status_code"], 400)
        self.assertEqual(by_id["hot"]["response"]["body"]["error"]["param"], "temperature")
        for number in range(REQUESTS):
            answer = by_id[f"id-{number}"]["response"]
            self.assertEqual(answer["status_code"], 200)
            self.assertGreater(answer["body"]["usage"]["completion_tokens"], 0)
        self.assertIn("62 lines: 62 answered, of them 2 failed", self.said)

    def test_killed_at_random_moments(self):
        wanted, draw = self.whole.read_bytes(), random.Random(5)
        out, kills = OPTIONS.work / "killed.jsonl", 0
        while kills < KILLS:
            process = subprocess.Popen(command("-i", self.input, "-o", out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(draw.uniform(0.0, self.seconds))
            process.kill()
            process.wait()
            kills += 1
            if out.exists():
                self.assertTrue(wanted.startswith(out.read_bytes()), "what is there is the beginning of the whole")
                if out.read_bytes() == wanted:
                    out.unlink()
            if out.exists() and draw.random() < 0.3:  # a torn line, as a crash of the machine leaves it
                size = out.stat().st_size
                os.truncate(out, max(0, size - draw.randrange(1, 200)))
        done = run("-i", self.input, "-o", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(out.read_bytes(), wanted)
        self.assertIn("answered by an earlier run", done.stderr)

    def test_a_signal_ends_in_order_and_the_next_run_goes_on(self):
        out = OPTIONS.work / "signalled.jsonl"
        process = subprocess.Popen(command("-i", self.input, "-o", out), stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None and not (out.exists() and out.stat().st_size > 0):
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        self.assertIn(process.returncode, (0, 130), said)
        self.assertTrue(self.whole.read_bytes().startswith(out.read_bytes()))
        self.assertEqual(run("-i", self.input, "-o", out).returncode, 0)
        self.assertEqual(out.read_bytes(), self.whole.read_bytes())

    def test_compressed_and_standard_streams(self):
        packed = OPTIONS.work / "in.jsonl.gz"
        packed.write_bytes(gzip.compress(self.input.read_bytes()))
        out = OPTIONS.work / "gz.jsonl"
        self.assertEqual(run("-i", packed, "-o", out).returncode, 0)
        created = re.compile(rb'"created":\d+')
        self.assertEqual(created.sub(b"", out.read_bytes()), created.sub(b"", self.whole.read_bytes()))
        if shutil.which("zstd"):
            halves = self.input.read_text().splitlines(keepends=True)
            first, second = OPTIONS.work / "first.jsonl.zst", OPTIONS.work / "second.jsonl"
            first.write_bytes(subprocess.run(["zstd", "-q", "-c"], input="".join(halves[:30]).encode(), capture_output=True, check=True).stdout)
            second.write_text("".join(halves[30:]))
            several = OPTIONS.work / "several.jsonl"
            self.assertEqual(run("-i", first, "-i", second, "-o", several).returncode, 0)
            # A faulty line is numbered in its file, and the answers count through.
            self.assertEqual(len(several.read_text().splitlines()), REQUESTS + 2)
            choices = [{one["custom_id"]: one["response"]["body"].get("choices") for one in map(json.loads, path.read_text().splitlines())
                        if one["custom_id"]} for path in (several, self.whole)]
            self.assertEqual(choices[0], choices[1])
        with self.input.open() as given:
            done = run("-i", "-", "-o", "-", stdin=given)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(created.sub(b"", done.stdout.encode()), created.sub(b"", self.whole.read_bytes()))

    def test_any_batch_and_order_with_experts_on_disk(self):
        packed = OPTIONS.work / "packed"
        done = subprocess.run([str(OPTIONS.binary), "pack", str(OPTIONS.model), str(packed), "-q", "q8_0"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [json.loads(line) for line in make_lines(REQUESTS) if line.startswith("{")]
        for number, line in enumerate(lines):  # three beginnings, in turn
            if "prompt" in line["body"]:
                line["body"]["prompt"] = "Long ago, in the " + "land of hills and rivers and trees, " * 4 + "AHZ"[number % 3] * 9 + line["body"]["prompt"]
        given, shuffled = OPTIONS.work / "offload.jsonl", OPTIONS.work / "shuffled.jsonl"
        given.write_text("\n".join(map(json.dumps, lines)))
        shuffled.write_text("\n".join(map(json.dumps, random.Random(3).sample(lines, len(lines)))))

        def answers(name, source, *flags):
            out = OPTIONS.work / f"{name}.jsonl"
            words = [str(OPTIONS.binary), "batch", str(packed), "-i", str(source), "-o", str(out), "--log-level", "warn", *flags]
            done = subprocess.run(words, capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 0, done.stderr)
            return out.read_bytes(), done.stderr

        share = ("--expert-memory", "30%")
        want, said = answers("resident", given)
        self.assertNotIn("experts:", said)
        self.assertNotIn(b"cached_tokens", want)
        swept, said = answers("swept", given, *share)
        self.assertEqual(swept, want)
        found = re.search(r"experts: ([\d.]+) GB read, ([\d.]+) MB for each token .* (\d+) layers swept, 0 loads repeated", said)
        self.assertTrue(found and float(found[1]) > 0 and int(found[3]) > 0, said)
        self.assertGreater(float(re.search(r"([\d.]+) % of the prompt tokens found", said)[1]), 10, said)
        plain, said = answers("plain", given, *share, "--no-expert-sweep")
        self.assertEqual(plain, want)
        self.assertIn(" 0 layers swept", said)
        online, said = answers("online", given, *share, "--no-throughput", "--max-num-seqs", "1")
        self.assertEqual(online, want)
        self.assertIn(" 0 layers swept", said)
        self.assertGreater(float(re.search(r"([\d.]+) MB for each token", said)[1]), 2 * float(found[2]), "alone each token reads its own")
        other, _ = answers("other", shuffled, *share)
        told = [{line["custom_id"]: line["response"]["body"].get("choices") for line in map(json.loads, text.splitlines())}
                for text in (want, other)]
        self.assertEqual(told[0], told[1])

    def test_answers_are_those_of_the_server(self):
        server = subprocess.Popen([str(OPTIONS.binary), "serve", str(OPTIONS.model), "--port", "0", "--no-grpc"],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            address = re.search(r"(http://\S+)", server.stdout.readline()).group(1)
            by_id = {line["custom_id"]: line for line in map(json.loads, self.whole.read_text().splitlines())}
            for number in range(1, 12, 2):
                url, asked = body(number)
                if asked["temperature"] != 0:
                    continue
                request = urllib.request.Request(address + url, json.dumps(asked).encode(), {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=60) as answer:
                    self.assertEqual(json.load(answer)["choices"], by_id[f"id-{number}"]["response"]["body"]["choices"])
        finally:
            server.kill()
            server.wait()

    def test_dry_run_and_wrong_words(self):
        done = run("-i", self.input, "--dry-run")
        self.assertEqual(done.returncode, 1)
        self.assertIn("62 requests, 2 of them faulty", done.stdout)
        estimate = re.search(r"at most about ([\d.]+) s: (\d+) prompt and (\d+) completion tokens a second, measured with (\d+) at a time", done.stdout)
        self.assertTrue(estimate, done.stdout)
        self.assertTrue(all(float(figure) > 0 for figure in estimate.groups()), done.stdout)
        notes = OPTIONS.work / "notes.txt"
        notes.write_text("my notes")
        for words, says in ((("-i", self.input), "--output-file"), (("-o", notes), "--input-file"),
                            (("-i", self.input, "-o", notes), "no output of a batch"),
                            (("-i", OPTIONS.work / "none", "-o", notes), "none"),
                            (("-i", self.input, "-o", OPTIONS.work / "x.zst"), "not compressed"),
                            (("-i", self.input, "-o", OPTIONS.work / "x", "--nonsense"), "nonsense")):
            done = run(*words)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(says, done.stderr)
        self.assertEqual(notes.read_text(), "my notes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--work", required=True, type=Path)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], "-v", *rest])
