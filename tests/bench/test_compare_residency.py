#!/usr/bin/env python3
"""compare_residency.py against a stand-in for foregate. Run with plain python3."""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent

FOREGATE = """#!{python}
# `bench` of a store that is half as fast again as LRU, `trace record`, `trace replay`.
import json, sys
words = sys.argv[1:]
value = dict(zip(words, words[1:]))
with open({log!r}, "a") as log:
    log.write(" ".join(words[:2]) + " " + value.get("--expert-policy", "-") + " " + value.get("--expert-memory", "-") + "\\n")
if {fail}:
    sys.exit("out of luck")
if words[0] == "bench":
    lru = value.get("--expert-policy") == "lru"
    assert lru == (value.get("--lookahead") == "off") and value["-n"] == "16", words
    print(json.dumps([dict(median_ts=4.0 if lru else 6.0, limit_ts=8.0, expert_hit_rate=0.25 if lru else 0.5,
                           expert_read_bytes_per_token=2e6, expert_stall_share=0.5, disk_gbps=1.0, expert_policy_now="score",
                           expert_hint_bytes=0, expert_hint_wasted_bytes=0)]))
elif words[1] == "record":
    assert open(value["--prompts"]).read().count("\\n") > 2
    open(words[3], "w").write("trace")
else:
    assert open(words[2]).read() == "trace"
    lines = [dict(budget=b, policy=p, hit_rate=dict(lru=0.2, auto=0.4, belady=0.6)[p])
             for b in value["--budget"].split(",") for p in value["--policy"].split(",")]
    print(json.dumps(dict(replays=lines)))
"""


class Residency(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def compare(self, *arguments, fail=False):
        program = self.folder / "foregate"
        program.write_text(FOREGATE.format(python=sys.executable, log=str(self.folder / "log"), fail=fail))
        program.chmod(0o755)
        command = [sys.executable, "-B", HERE / "compare_residency.py", "--foregate", program, "-n", "16", *arguments]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)

    def test_both_run_in_turns_and_the_ratio_is_theirs(self):
        out = self.folder / "out.json"
        done = self.compare("--share", "25", "50", "--rounds", "3", "--json", out, self.folder / "model")
        self.assertEqual(done.returncode, 0, done.stderr)
        results = json.loads(out.read_text())["models"][str(self.folder / "model")]
        self.assertEqual([result["share"] for result in results], [25, 50])
        for result in results:
            self.assertEqual(result["ratio"], 1.5)
            self.assertEqual((result["pair_min"], result["pair_max"]), (1.5, 1.5))
            self.assertEqual(result["replayed"], {"lru": 0.2, "auto": 0.4, "belady": 0.6})
            self.assertEqual({name: len(figure["runs"]) for name, figure in result["engines"].items()},
                             {"as it is": 3, "lru on demand": 3})
        self.assertIn("| 25 % | as it is | 6.00 | 6.00 - 6.00 | 3 | 50.0 % | 40.0 % | 60.0 % | 2.0 | 75 % | 1.50 (1.50 - 1.50) |",
                      done.stdout)
        log = (self.folder / "log").read_text().split("\n")
        self.assertEqual(sum(line.startswith("trace record") for line in log), 1)
        first = [line.split()[-2:] for line in log if line.startswith("bench")][:4]
        self.assertEqual(first, [["-", "25%"], ["lru", "25%"], ["lru", "25%"], ["-", "25%"]])

    def test_a_failure_is_named(self):
        done = self.compare(self.folder / "model", fail=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("out of luck", done.stderr)
        self.assertEqual(self.compare("--share", "0", self.folder / "model").returncode, 2)


if __name__ == "__main__":
    unittest.main()
