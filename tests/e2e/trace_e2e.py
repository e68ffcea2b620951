#!/usr/bin/env python3
"""`foregate trace` from outside: recording changes no text, and replays count what the engine counted.

Needs nothing but Python. Usage: trace_e2e.py --binary FOREGATE --model DIR --work DIR [unittest options]"""
import fcntl
import json
import os
import shutil
import time
import unittest

import pack_e2e
from offload_e2e import BODY, figures
from pack_e2e import OPTIONS, Served, foregate

SPARSE_LAYERS, TOP_K, EXPERTS = 6, 2, 96  # of models/demo


def settled(served):
    """The figures when no step adds to them any more: a reply is out before its last step is counted."""
    until, last = time.monotonic() + 20, None
    while (now := figures(served)) != last:
        assert time.monotonic() < until, "figures go on"
        last = now
        time.sleep(0.25)
    return now


class Trace(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(OPTIONS.work, ignore_errors=True)
        OPTIONS.work.mkdir(parents=True)
        cls.packed = OPTIONS.work / "packed"
        done = foregate("pack", OPTIONS.model, cls.packed, "-q", "q8_0")
        assert done.returncode == 0, done.stderr
        cls.lines = OPTIONS.work / "prompts.txt"
        cls.lines.write_text("Once upon a time\n\nThe dog\nQuestion: what is 3 + 4?\n")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(OPTIONS.work, ignore_errors=True)

    def trace(self, *arguments, code=0):
        done = foregate("trace", *arguments)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code == 0 else done.stderr

    def replay(self, file, *arguments):
        return json.loads(self.trace("replay", file, "-o", "json", *arguments))

    def record(self, name, *arguments, model=None):
        out = OPTIONS.work / name
        said = self.trace("record", model or self.packed, out, "-n", "40", *arguments)
        return out, said

    def test_a_replay_counts_what_the_engine_counted(self):
        for policy in ("lru", "lfu", "score"):
            for warm in ((), ("--no-expert-warm",)):
                out, said = self.record(f"{policy}.trace", "--expert-memory", "50%", "--expert-policy", policy, *warm)
                show = json.loads(self.trace("show", out, "-o", "json"))
                self.assertIn(f"{show['hits']} hits, {show['misses']} misses", said)
                self.assertEqual(show["began_with"], 0 if warm else show["slots"])
                self.assertEqual(len(show["layers"]), SPARSE_LAYERS)
                got = self.replay(out, "--policy", f"{policy},belady", "--budget", f"50%,{show['slots']}slots")["replays"]
                for own, bound in (got[:2], got[2:]):
                    self.assertEqual((own["hits"], own["misses"]), (show["hits"], show["misses"]))
                    self.assertGreaterEqual(bound["hits"], own["hits"])
                    self.assertGreater(own["hits"], 0)

    def test_serve_traces_and_says_the_same(self):
        out = OPTIONS.work / "served.trace"
        for flags in ((), ("--expert-memory", "40%", "--lookahead", "off")):
            with Served(self.packed, *flags) as served:
                status, want = served.request("POST", "/v1/completions", BODY)
                self.assertEqual(status, 200, want)
                self.assertNotIn("moe_traced_rows_total", served.request("GET", "/metrics")[1])
            with Served(self.packed, *flags, "--trace-routes", str(out)) as served:
                status, got = served.request("POST", "/v1/completions", BODY)
                self.assertEqual(json.loads(got)["choices"], json.loads(want)["choices"])
                seen = settled(served)
            show = json.loads(self.trace("show", out, "-o", "json"))
            self.assertEqual(seen["moe_traced_rows_total"], show["rows"] * SPARSE_LAYERS)
            self.assertGreater(show["rows"], BODY["max_tokens"] - 2)
            self.assertEqual(sum(layer["assignments"] for layer in show["layers"]), show["rows"] * SPARSE_LAYERS * TOP_K)
            self.assertEqual(served.said.count("routes of"), 1)
            if flags:
                self.assertEqual(show["hits"], seen["moe_expert_hits_total"])
                self.assertEqual(show["misses"], seen["moe_expert_misses_total"])
                [own] = self.replay(out, "--policy", "score", "--budget", "40%")["replays"]
                self.assertEqual((own["hits"], own["misses"]), (show["hits"], show["misses"]))
            else:
                self.assertEqual(show["slots"], 0)

    def test_models_in_memory_are_traced_too(self):
        out, said = self.record("whole.trace", "--prompts", self.lines, "--parallel", "2", model=OPTIONS.model)
        self.assertIn("3 requests", said)
        lines = self.replay(out, "--policy", "lru,score,belady", "--budget", "25%,50%,100%", "--bandwidth", "800MB")
        whole = [line for line in lines["replays"] if line["budget"] == "100%"]
        self.assertEqual({line["slots"] for line in whole}, {EXPERTS})
        self.assertEqual({line["evictions"] for line in whole}, {0})
        for line in lines["replays"]:
            self.assertAlmostEqual(line["stall_seconds"], line["missed_bytes"] / 800e6, places=6)
        text = self.trace("replay", out)
        self.assertIn("| 50% | 48 | belady |", text)
        self.assertIn("layer", self.trace("show", out))

    def test_costs_are_measured_once_and_used(self):
        own = OPTIONS.work / "costed"
        shutil.copytree(self.packed, own)
        file = own / "expert-costs.bin"
        file.unlink(missing_ok=True)
        store = ("--expert-memory", "50%")
        inspect = json.loads(foregate("inspect", own, "--json").stdout)["expert_memory"]
        self.assertEqual([line["percent"] for line in inspect["budgets"]], [25, 50, 75, 100])
        self.assertNotIn("tokens_per_second", inspect["budgets"][0])
        self.assertIn("no measured costs of this machine", foregate("inspect", own).stdout)
        texts = []
        for flags, measured in ((("--no-cost-calibration",), None), ((), 1), ((), 0)):
            with Served(own, *store, *flags) as served:
                status, text = served.request("POST", "/v1/completions", BODY)
                self.assertEqual(status, 200, text)
                texts.append(json.loads(text)["choices"])
                seen = settled(served)
                said = served.request("GET", "/metrics")[1]
            self.assertEqual(seen.get("moe_calibrated_at_start"), measured)
            self.assertEqual(file.exists(), measured is not None)
            self.assertEqual(seen["moe_calibrated_observed_read_bytes_per_second"] > 0, measured is not None)
            for name in ("moe_calibrated_read_bytes_per_second", "moe_calibrated_memory_bytes_per_second",
                         "moe_calibrated_kernel_seconds"):
                self.assertEqual(name + "{" in said, measured is not None, name)
        self.assertEqual(texts[0], texts[1])
        self.assertEqual(texts[0], texts[2])
        out, _ = self.record("costed.trace", model=own)
        replayed = self.replay(out, "--model", own, "--budget", "25%")["replays"]
        self.assertGreater(replayed[0]["stall_seconds"], 0)
        by_trace = json.loads(foregate("inspect", own, "--json", "--trace", out).stdout)["expert_memory"]
        by_share = json.loads(foregate("inspect", own, "--json").stdout)["expert_memory"]
        for one, other in zip(by_trace["budgets"], by_share["budgets"]):
            self.assertGreater(one["tokens_per_second"], 0)
            self.assertNotEqual(one["hit_rate"], other["hit_rate"])
            self.assertAlmostEqual(other["hit_rate"], other["percent"] / 100)
            slow = max(other["compute_seconds"], other["read_seconds"])
            self.assertAlmostEqual(other["tokens_per_second"] * slow, 1, places=6)
        self.assertIn("replay of", foregate("inspect", own, "--trace", out).stdout)
        file.write_bytes(file.read_bytes()[:-3])
        with Served(own, *store) as served:
            self.assertEqual(figures(served)["moe_calibrated_at_start"], 1)

    def test_a_folder_that_cannot_be_written(self):
        own = OPTIONS.work / "read_only"
        shutil.copytree(self.packed, own)
        (own / "expert-costs.bin").unlink(missing_ok=True)
        handle = os.open(own, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # as a folder that is read-only: files of it cannot be replaced
            with Served(own, "--expert-memory", "50%") as served:
                self.assertEqual(served.request("POST", "/v1/completions", BODY)[0], 200)
                self.assertEqual(figures(served)["moe_calibrated_at_start"], 1)
        finally:
            os.close(handle)
        self.assertFalse((own / "expert-costs.bin").exists())

    def test_experts_are_placed_by_a_trace(self):
        out, _ = self.record("placed.trace", "--prompts", self.lines)
        plan = OPTIONS.work / "plan.json"
        for objective, figure in (("token-stays", "crossings"), ("distinct-devices", "distinct")):
            done = foregate("place", "--trace", out, "--ranks", "4", "--objective", objective, "-o", plan, "--format",
                            "json")
            self.assertEqual(done.returncode, 0, done.stderr)
            said = json.loads(done.stdout)
            by_name = {line["placement"]: line for line in said["placements"]}
            for rule in ("linear", "round-robin"):
                self.assertLess(by_name["affinity"][figure], by_name[rule][figure])
            self.assertLessEqual(said["bound"], said["reached"])
            self.assertAlmostEqual(said["reached"], by_name["affinity"][figure])
            layers = json.loads(plan.read_text())["layers"]
            self.assertEqual(len(layers), SPARSE_LAYERS)
            for layer in layers:
                self.assertEqual(sorted(sum(layer["ranks"], [])), list(range(EXPERTS // SPARSE_LAYERS)))
                self.assertEqual({len(rank) for rank in layer["ranks"]}, {EXPERTS // SPARSE_LAYERS // 4})
        for wrong in (("--ranks", "0"), ("--ranks", "17"), ("--ranks", "2", "--objective", "none")):
            self.assertEqual(foregate("place", "--trace", out, *wrong).returncode, 2, wrong)

    def test_what_is_wrong_is_said(self):
        out, _ = self.record("right.trace")
        self.assertIn("policy", self.trace("replay", out, "--policy", "newest", code=2))
        self.assertIn("64slots", self.trace("replay", out, "--budget", "many", code=2))
        self.assertIn("a layer needs", self.trace("replay", out, "--budget", "2slots", code=2))
        self.assertIn("no-such-file", self.trace("show", OPTIONS.work / "no-such-file", code=1))
        cut = OPTIONS.work / "cut.trace"
        cut.write_bytes(out.read_bytes()[:-40])
        self.assertRegex(self.trace("show", cut, code=1), r"cut\.trace, offset \d+: ")
        self.assertIn("not the name of a file", self.trace("record", self.packed, OPTIONS.work, code=2))
        bare = OPTIONS.work / "no" / "folder" / "yet.trace"
        self.trace("record", self.packed, bare, "-n", "1")
        self.assertTrue(bare.exists())


if __name__ == "__main__":
    pack_e2e.main()
