#!/usr/bin/env python3
"""compare_offload.py against stand-in programs and a stand-in for the memory limit. Run with plain python3."""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent

LIMITER = """#!{python}
# Takes limit_memory.py's arguments, logs them, runs the command without a limit and reports made-up figures.
import json, signal, subprocess, sys
at = sys.argv.index("--")
words = sys.argv[1:at]
value = dict(zip(words, words[1:]))
with open({log!r}, "a") as log:
    log.write(" ".join([value["--bytes"], value["--of"].rsplit("/")[-1], value.get("--read-ahead-kb", "-")]) + "\\n")
child = subprocess.Popen(sys.argv[at + 1:])
signal.signal(signal.SIGTERM, lambda *_: (child.kill(), sys.exit(143)))
code = child.wait()
open(value["--report"], "w").write(json.dumps(dict(disk_read_bytes=6400, peak_bytes=400, limit_bytes=int(value["--bytes"]))))
sys.exit(code)
"""

OURS = """#!{python}
# `foregate bench -o json` with one test; twice as fast in every second run.
import json, os, sys
words = sys.argv[1:]
assert words[0] == "bench" and words[words.index("-n") + 1] == "16" and words[words.index("-d") + 1] == "8", words
assert words[words.index("--expert-memory") + 1] == "auto", words
rate = 8.0 if os.path.exists({log!r} + ".ours") else 4.0
open({log!r} + ".ours", "w")
row = dict(median_ts=rate, limit_ts=10.0)
if {stored}:
    row.update(expert_memory="auto", expert_hit_rate=0.5, expert_stall_share=0.25, expert_slot_bytes=300, disk_gbps=0.75,
               expert_read_bytes_per_token=125.0)
print(json.dumps([row]))
"""

PEER = """#!{python}
# llama-batched-bench in jsonl, a line of log before it.
import json, sys
assert "--no-repack" in sys.argv and sys.argv[sys.argv.index("-lm") + 1] == "mmap", sys.argv
value = dict(zip(sys.argv[1:], sys.argv[2:]))
print("loading")
print(json.dumps(dict(pp=int(value["-npp"]), tg=int(value["-ntg"]), speed_pp=50.0, speed_tg=2.0)))
"""


class Offload(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.log = self.folder / "log"
        (self.folder / "model.gguf").write_bytes(b"x" * 1000)
        (self.folder / "packed").mkdir()

    def program(self, name, template, **values):
        path = self.folder / name
        path.write_text(template.format(python=sys.executable, log=str(self.log), **values))
        path.chmod(0o755)
        return str(path)

    def run_script(self, *words, ours=OURS, peer=PEER, stored=True):
        out = self.folder / "out.json"
        command = [sys.executable, "-B", str(HERE / "compare_offload.py"), "--foregate", self.program("ours", ours, stored=stored),
                   "--llama-batched-bench", self.program("peer", peer), "--limiter", self.program("limiter", LIMITER),
                   "--packed", str(self.folder / "packed"), "-n", "16", "--json", str(out), *words,
                   str(self.folder / "model.gguf")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        return done, json.loads(out.read_text()) if out.exists() else None

    def test_programs_take_turns_under_the_same_limits(self):
        done, report = self.run_script("--share", "0.5", "0.3", "--read-ahead-kb", "128", "8192", "--rounds", "2")
        self.assertEqual(done.returncode, 0, done.stderr)
        turns = ["packed -", "model.gguf 128", "model.gguf 8192", "model.gguf 128", "model.gguf 8192", "packed -"]
        self.assertEqual(self.log.read_text().split("\n")[:-1], [f"{limit} {turn}" for limit in (500, 300) for turn in turns])
        self.assertEqual([result["limit_bytes"] for result in report["results"]], [500, 300])
        self.assertIn("mmap", report["commands"]["llama.cpp mmap"])

    def test_ratios_are_of_medians_and_equal_rounds(self):
        done, report = self.run_script("--share", "0.5", "--rounds", "2")
        self.assertEqual(done.returncode, 0, done.stderr)
        ours, peer = report["results"][0]["engines"]
        self.assertEqual((ours["median"], ours["min"], ours["max"], ours["n"]), (6.0, 4.0, 8.0, 2))
        self.assertEqual((peer["median"], peer["n"], peer["read_ahead_kb"]), (2.0, 2, 128))
        self.assertEqual((peer["ours_over"], peer["ours_over_min"], peer["ours_over_max"]), (3.0, 2.0, 4.0))
        self.assertEqual((ours["hit_rate"], ours["disk_bytes_per_token"], ours["stall_share"]), (0.5, 125, 0.25))
        self.assertAlmostEqual(ours["of_limit"], 0.6)
        self.assertEqual(peer["disk_bytes_per_token"], 6400 / 16)
        self.assertEqual((ours["peak_bytes"], peer["peak_bytes"]), (400, 400))
        self.assertNotIn("ours_over", ours)
        self.assertIn("| 3.00 (2.00 - 4.00) |", done.stdout)

    def test_a_model_that_fits_reads_nothing(self):
        done, report = self.run_script("--share", "2", "--rounds", "1", stored=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        ours = report["results"][0]["engines"][0]
        self.assertEqual((ours["hit_rate"], ours["disk_bytes_per_token"]), (1.0, 0))

    def test_failures_are_named_and_the_others_go_on(self):
        for peer, says in (("#!/bin/sh\necho out of memory >&2\nexit 9\n", "exit 9: out of memory"),
                           ("#!/bin/sh\necho hello\n", "unreadable output")):
            done, report = self.run_script("--share", "0.5", "--rounds", "2", peer=peer)
            self.assertEqual(done.returncode, 1)
            self.assertIn(says, report["results"][0]["failures"]["llama.cpp mmap 128"])
            self.assertEqual([(engine["name"], engine["n"]) for engine in report["results"][0]["engines"]], [("foregate", 2)])

    def test_a_run_that_takes_too_long_is_ended(self):
        slow = "#!{python}\nimport time\ntime.sleep(20)\n"
        done, report = self.run_script("--share", "0.5", "--rounds", "1", "--timeout", "1", peer=slow)
        self.assertEqual(done.returncode, 1)
        self.assertIn("more than 1 s", report["results"][0]["failures"]["llama.cpp mmap 128"])

    def test_wrong_lines(self):
        for words in (("--share", "0"), ("--rounds", "0"), ("--read-ahead-kb", "0"), ("--packed", "nowhere")):
            self.assertEqual(self.run_script(*words)[0].returncode, 2, words)


if __name__ == "__main__":
    unittest.main()
