#!/usr/bin/env python3
"""`foregate serve PACKED --expert-memory` from outside: the same text at every budget, and files that break while it runs.

Needs nothing but Python. Usage: offload_e2e.py --binary FOREGATE --model DIR --work DIR [unittest options]"""
import json
import os
import re
import shutil
import threading
import time
import unittest

import pack_e2e
from pack_e2e import INDEX, OPTIONS, Served, foregate

BODY = {"model": "demo", "prompt": "Once upon a time", "max_tokens": 48, "temperature": 0, "logprobs": 2}


def figures(served):
    """Each moe_* metric: the sum over its labels."""
    text, sums = served.request("GET", "/metrics")[1], {}
    for name, value in re.findall(r"^(moe_\w+)\{[^}]*\} (\S+)$", text, re.MULTILINE):
        sums[name] = sums.get(name, 0.0) + float(value)
    return sums


class Offload(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(OPTIONS.work, ignore_errors=True)
        OPTIONS.work.mkdir(parents=True)
        cls.packed = OPTIONS.work / "packed"
        done = foregate("pack", OPTIONS.model, cls.packed, "-q", "q8_0", "--max-file-size", "3MB")
        assert done.returncode == 0, done.stderr
        cls.units = json.loads((cls.packed / INDEX).read_text())["units"]
        cls.experts = [unit for unit in cls.units if "expert" in unit]
        with Served(cls.packed) as served:
            cls.want = cls.answer(served)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(OPTIONS.work, ignore_errors=True)

    @classmethod
    def answer(cls, served, **changes):
        status, text = served.request("POST", "/v1/completions", {**BODY, **changes})
        assert status == 200, text
        return json.loads(text)["choices"]

    def copy(self, name):
        out = OPTIONS.work / name
        shutil.copytree(self.packed, out)
        return out

    def test_the_text_is_the_same_at_every_budget(self):
        for memory, policy in (("all", "score"), ("100%", "score"), ("60%", "lru"), ("25%", "score"), ("25%", "lfu"),
                               ("8%", "score"), ("auto", "score")):
            with Served(self.packed, "--expert-memory", memory, "--expert-policy", policy) as served:
                self.assertEqual(self.answer(served), self.want, memory)
                seen = figures(served)
                facts = json.loads(served.request("GET", "/version")[1])
            if memory in ("all", "auto"):
                self.assertEqual(facts["experts"], "all in memory")
                self.assertEqual(seen["moe_expert_misses_total"], 0)
                continue
            slots = int(facts["experts"].split()[0])
            self.assertEqual(seen["moe_expert_slots"], slots)
            self.assertIn(policy, facts["experts"])
            self.assertEqual(seen["moe_expert_reads_by_threads"], 0 if "io_uring" in facts["experts"] else 1)
            self.assertGreater(seen["moe_expert_hits_total"], 0)
            self.assertGreater(seen["moe_expert_loaded_bytes_total"], 0)
            self.assertEqual(seen["moe_expert_evictions_total"] > 0, memory != "100%")

    def test_many_streams_share_the_slots(self):
        prompts = ["Once upon a time", "The dog", "A small boat", "Question: what is 3 + 4?", "Two friends", "In the forest"]
        with Served(self.packed) as served:
            want = [self.answer(served, prompt=prompt) for prompt in prompts]
        with Served(self.packed, "--expert-memory", "12%", "--max-num-batched-tokens", "16") as served:
            got = [None] * len(prompts)

            def ask(i):
                got[i] = self.answer(served, prompt=prompts[i])

            threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(prompts))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(got, want)
            self.assertGreater(figures(served)["moe_expert_evictions_total"], 0)

    def ask_all(self, served, bodies):
        got = [None] * len(bodies)

        def ask(i):
            got[i] = self.answer(served, **bodies[i])

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(bodies))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return got

    def test_one_budget_follows_what_requests_need(self):
        bodies = [{"prompt": f"Story {i}: once upon a time", "max_tokens": 260, "ignore_eos": True, "logprobs": 0} for i in range(6)]
        flags = ("--max-model-len", "512", "--kv-cache-memory-bytes", "1M", "--lookahead", "off")

        def preemptions(served):
            return float(re.search(r"^vllm:num_preemptions_total\{[^}]*\} (\S+)$", served.request("GET", "/metrics")[1], re.MULTILINE)[1])

        def shares(served):
            text = served.request("GET", "/metrics")[1]
            return {name + (to or ""): float(value) for name, to, value in re.findall(
                r'^foregate_elastic_(\w+)\{model_name="demo"(?:,to="(\w+)")?\} (\S+)$', text, re.MULTILINE)}

        with Served(self.packed, *flags, "--expert-memory", "6M") as served:
            want = self.ask_all(served, bodies)
            self.assertGreater(preemptions(served), 0)
            self.assertEqual(shares(served), {})
        with Served(self.packed, *flags, "--elastic-memory", "7M") as served:
            first = shares(served)
            self.assertLessEqual(first["kv_bytes"] + first["expert_bytes"], first["budget_bytes"])
            self.assertEqual(self.ask_all(served, bodies), want)
            burst = shares(served)
            self.assertEqual(preemptions(served), 0)
            self.assertGreater(burst["moves_totalkv"], 0)
            self.assertLess(burst["expert_bytes"], first["expert_bytes"])
            end = time.monotonic() + 60
            while shares(served)["moves_totalexperts"] == 0 and time.monotonic() < end:
                for body in bodies:
                    self.answer(served, **{**body, "max_tokens": 60})
            after = shares(served)
            self.assertGreater(after["moves_totalexperts"], 0)
            self.assertGreater(after["expert_bytes"], burst["expert_bytes"])
            self.assertLessEqual(after["kv_bytes"] + after["expert_bytes"], after["budget_bytes"])
            self.assertEqual(self.ask_all(served, bodies), want)
            self.assertEqual(preemptions(served), 0)
            print(f"elastic: experts {first['expert_bytes']:.0f} -> {burst['expert_bytes']:.0f} -> {after['expert_bytes']:.0f} bytes")
        self.assertIn("elastic memory: ", served.said)
        for says, budget, more in (("leave --expert-memory out", "7M", ("--expert-memory", "40%")), ("at a time", "1M", ()),
                                   ("not of ranks", "7M", ("--expert-parallel-size", "2")),
                                   ("a trace says", "7M", ("--trace-routes", str(OPTIONS.work / "t")))):
            done = foregate("serve", self.packed, "--port", "0", *flags, "--elastic-memory", budget, *more)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(says, done.stderr)

    def test_wrong_budgets_are_refused_at_start(self):
        for model, memory, says in ((self.packed, "much", "is not all, auto"), (self.packed, "0%", "is not all, auto"),
                                    (self.packed, "4096", "a layer needs"), (self.packed, "120%", "more than 100%")):
            done = foregate("serve", model, "--port", "0", "--expert-memory", memory)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(says, done.stderr)
            self.assertRegex(done.stderr, "expert[-_]memory")

    def test_memory_stays_within_the_budget(self):
        """The peak of the process: the budget of the experts and a twentieth, the other weights, the KV cache, and what
        engine/runtime/expert_memory.h keeps for the program. All experts would not fit in that."""
        out, share, cache, program = OPTIONS.work / "shape", 0.2, 8 << 20, 192 << 20
        done = foregate("pack", "--shape", "olmoe-1b-7b", "--layers", "2", "-q", "q4_0", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        units = json.loads((out / INDEX).read_text())["units"]
        experts = sum(unit["bytes"] for unit in units if "expert" in unit)
        rest = sum(unit["bytes"] for unit in units) - experts
        with Served(out, "--expert-memory", f"{share:.0%}", "--max-model-len", "256", "--kv-cache-memory-bytes", str(cache),
                    "--no-cost-calibration") as served:
            for prompt in ("the sea " * 40, "a wind"):
                self.answer(served, prompt=prompt, max_tokens=12, ignore_eos=True)
            self.assertGreater(figures(served)["moe_expert_evictions_total"], 0)
            with open(f"/proc/{served.process.pid}/status") as status:
                peak = 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1])
        shutil.rmtree(out)
        most = 1.05 * share * experts + rest + cache + program
        self.assertLess(peak, most)
        self.assertLess(most, experts + rest)

    def test_models_that_are_not_packed_work_too(self):
        for model, flags in ((OPTIONS.model, ()), (OPTIONS.model, ("-q", "q8_0"))):
            with Served(model, *flags) as served:
                want = self.answer(served)
            with Served(model, *flags, "--expert-memory", "20%") as served:
                self.assertEqual(self.answer(served), want)
                seen = figures(served)
                self.assertGreater(seen["moe_expert_evictions_total"], 0)
                self.assertGreater(seen["moe_expert_loaded_bytes_total"], 0)
            self.assertEqual(served.said.count("the model is not packed"), 1)

    def test_a_restart_begins_with_what_was_used(self):
        out, flags = self.copy("warm"), ("--expert-memory", "30%", "--lookahead", "off")
        uses, misses = out / "expert-uses.bin", []
        for more, keeps in ((("--no-expert-warm",), False), ((), True), ((), True)):
            with Served(out, *flags, *more) as served:
                self.assertEqual(self.answer(served), self.want)
                misses.append(figures(served)["moe_expert_misses_total"])
            self.assertEqual(uses.exists(), keeps)
        # Without hints, whose hits depend on the time their reads take.
        self.assertLess(misses[1], misses[0])  # some experts of every layer
        self.assertLess(misses[2], misses[1])  # those of this very text
        uses.write_bytes(uses.read_bytes()[:-3])
        with Served(out, *flags) as served:
            self.assertEqual(self.answer(served), self.want)

    def test_lookahead_changes_no_text(self):
        for mode, distance in (("off", 1), ("shadow", 1), ("auto", 1), ("always", 1), ("always", 2), ("always", 3)):
            with Served(self.packed, "--expert-memory", "30%", "--lookahead", mode, "--lookahead-distance", str(distance)) as served:
                self.assertEqual(self.answer(served), self.want)
                seen = figures(served)
            self.assertEqual(seen["moe_lookahead_guesses_total"] > 0, mode != "off")
            self.assertEqual(seen["moe_hints_total"] > 0, mode == "always" or seen["moe_hints_total"] > 0 and mode == "auto")
            if mode == "always":
                self.assertGreater(seen["moe_hints_useful_total"], 0)
                used = sum(seen[f"moe_expert_hint_{end}_bytes_total"] for end in ("useful", "late"))
                self.assertGreater(used, 0)
                self.assertLessEqual(used + seen["moe_expert_hint_wasted_bytes_total"], seen["moe_expert_hint_bytes_total"])
            print(f"{mode} {distance}: right {seen['moe_lookahead_guesses_right_total']:.0f} of "
                  f"{seen['moe_lookahead_guesses_total']:.0f}, hints {seen['moe_hints_total']:.0f}")

    def test_certain_routes_change_no_text(self):
        out = OPTIONS.work / "pregated"
        done = foregate("pack", OPTIONS.model.parent / "demo-pregated", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        with Served(out) as served:
            want = self.answer(served)
        for mode in ("off", "shadow", "auto"):
            with Served(out, "--expert-memory", "30%", "--lookahead", mode) as served:
                self.assertEqual(self.answer(served), want)
                seen = figures(served)
            self.assertEqual(seen["moe_certain_experts_total"] > 0, mode != "off")
            self.assertEqual(seen["moe_certain_experts_right_total"], seen["moe_certain_experts_total"])
            self.assertEqual(seen["moe_certain_hints_total"] > 0, mode == "auto")
            self.assertEqual(seen["moe_certain_hints_useful_total"] + seen["moe_certain_hints_late_total"],
                             seen["moe_certain_hints_total"])
            self.assertEqual(seen["moe_lookahead_guesses_total"], 0)
            print(f"certain {mode}: {seen['moe_certain_experts_total']:.0f} experts, {seen['moe_certain_hints_total']:.0f} loads, "
                  f"{seen['moe_certain_hints_useful_total']:.0f} in time")

    def flip(self, folder):
        """One bit in each expert."""
        files = sorted(folder.glob("*.fgw"))
        for unit in self.experts:
            with open(files[unit["file"]], "r+b") as file:
                file.seek(unit["offset"] + 64)
                byte = file.read(1)[0]
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte ^ 4]))
        os.sync()

    def test_damage_ends_requests_and_nothing_else(self):
        out = self.copy("flipped")
        with Served(out, "--expert-memory", "12%") as served:
            self.assertEqual(self.answer(served), self.want)
            self.flip(out)
            for _ in range(6):
                status, text = served.request("POST", "/v1/completions", {**BODY, "prompt": "The dog went"})
                self.assertEqual(status, 500, text)
                self.assertRegex(json.loads(text)["error"]["message"], r"expert \d+ of layer \d+: .*checksum")
            self.assertEqual(served.request("GET", "/health")[0], 200)
            self.assertGreater(figures(served)["moe_expert_load_failures_total"], 0)
            self.flip(out)  # back
            self.assertEqual(self.answer(served), self.want)

    def test_a_file_that_becomes_shorter(self):
        out = self.copy("short")
        with Served(out, "--expert-memory", "12%") as served:
            self.assertEqual(self.answer(served), self.want)
            kept = {path: path.read_bytes() for path in out.glob("*.fgw")}
            for path in kept:
                os.truncate(path, 4096)
            status, text = served.request("POST", "/v1/completions", {**BODY, "prompt": "The dog went"})
            self.assertEqual(status, 500, text)
            self.assertRegex(json.loads(text)["error"]["message"], r"expert \d+ of layer \d+: .*shorter")
            for path, content in kept.items():
                with open(path, "r+b") as file:
                    file.write(content)
            self.assertEqual(self.answer(served), self.want)


if __name__ == "__main__":
    pack_e2e.main()
