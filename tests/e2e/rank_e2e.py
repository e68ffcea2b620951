#!/usr/bin/env python3
"""`foregate serve --expert-parallel-size` from outside: the text of one rank, and ranks that are killed and stopped.

Needs nothing but Python. Usage: rank_e2e.py --binary FOREGATE --model DIR --work DIR [unittest options]"""
import json
import os
import signal
import threading
import time

import pack_e2e
from pack_e2e import OPTIONS, Served, foregate
from ranks import RankTest, answers, ask, figure, workers


def long_answer(served):
    """To a prompt of some 700 tokens: enough for several messages to a rank."""
    status, text = ask(served, prompt=" ".join(f"Once upon a time {i}." for i in range(100)), max_tokens=4)
    assert status == 200, text
    return json.loads(text)["choices"]


class Ranks(RankTest):
    def test_the_text_is_that_of_one_rank(self):
        packed = OPTIONS.work / "packed"
        done = foregate("pack", OPTIONS.model, packed)
        self.assertEqual(done.returncode, 0, done.stderr)
        for model, ranks, placement in ((OPTIONS.model, 2, "linear"), (OPTIONS.model, 3, "round-robin"), (packed, 2, "linear")):
            with Served(model, "--expert-parallel-size", str(ranks), "--placement", placement,
                        "--rank-line", "shared-memory") as served:
                self.assertEqual(answers(served), self.want)
                self.assertEqual(len(workers(served)), ranks - 1)
                self.assertEqual(figure(served, "foregate_ranks_serving"), ranks)
                self.assertEqual(figure(served, "foregate_ranks_sharing_memory"), ranks - 1)
                self.assertGreater(figure(served, "moe_exchange_rows_total"), 0)
                self.assertGreater(figure(served, "moe_exchange_bytes_total"), 0)
                self.assertEqual(figure(served, "foregate_rank_restarts_total"), 0)
                facts = json.loads(served.request("GET", "/version")[1])
                self.assertIn(f"{ranks} ranks", facts["experts"])
                left = workers(served)
            for pid in left:
                self.assertFalse(os.path.exists(f"/proc/{pid}"), "a rank outlived the server")

    def test_exchanges_overlap_and_the_text_stays(self):
        with Served(OPTIONS.model) as served:
            want = long_answer(served)
        for overlap, line, more in (("chunks", "socket", ()), ("chunks", "shared-memory", ("--expert-memory", "50%")),
                                    ("halves", "shared-memory", ()), ("auto", "auto", ())):
            model = OPTIONS.model
            if more:
                model = OPTIONS.work / "overlap"
                self.assertEqual(foregate("pack", OPTIONS.model, model).returncode, 0)
            with Served(model, "--expert-parallel-size", "2", "--exchange-overlap", overlap, "--rank-line", line, *more) as served:
                self.assertEqual(answers(served), self.want)
                self.assertEqual(figure(served, "moe_exchange_chunks_total"), 0, "a few rows are one message")
                self.assertEqual(long_answer(served), want)
                chunks = figure(served, "moe_exchange_chunks_total")
                halves = figure(served, "moe_exchange_halves_total")
                if overlap == "auto":
                    several = [threading.Thread(target=ask, args=(served,)) for _ in range(4)]
                    for thread in several:
                        thread.start()
                    for thread in several:
                        thread.join()
                    trials = sum(figure(served, f"moe_exchange_overlap_trials{what}_total") for what in ("", "_spared"))
                    self.assertGreater(trials, 0, "steps of as many rows are tried each way, or known not to gain")
                else:
                    self.assertEqual((chunks > 0, halves > 0), (overlap == "chunks", overlap == "halves"))

    def test_over_sockets_the_text_is_the_same(self):
        with Served(OPTIONS.model, "--expert-parallel-size", "2", "--rank-line", "socket") as served:
            self.assertEqual(answers(served), self.want)
            self.assertEqual(figure(served, "foregate_ranks_serving"), 2)
            self.assertEqual(figure(served, "foregate_ranks_sharing_memory"), 0)

    def test_ranks_keep_their_experts_on_disk_and_the_text_stays(self):
        packed = OPTIONS.work / "stored"
        done = foregate("pack", OPTIONS.model, packed)
        self.assertEqual(done.returncode, 0, done.stderr)
        trace = OPTIONS.work / "routes.trace"
        for model, ranks, more in ((packed, 2, ("--dense-memory", "60%")), (packed, 3, ("--no-expert-warm",)),
                                   (OPTIONS.model, 2, ("--trace-routes", str(trace)))):
            with Served(model, "--expert-parallel-size", str(ranks), "--expert-memory", "50%", *more) as served:
                self.assertEqual(answers(served), self.want)
                self.assertGreater(figure(served, "moe_expert_misses_total"), 0)
                self.assertGreater(figure(served, "moe_rank_expert_loads_total"), 0)
                self.assertGreater(figure(served, "moe_rank_expert_evictions_total"), 0)
                self.assertGreater(figure(served, "moe_rank_expert_hits_total"), 0)
                self.assertIn(f"{ranks} ranks", json.loads(served.request("GET", "/version")[1])["experts"])
        self.assertFalse((packed / "expert-uses.bin").exists(), "no rank sees all uses")
        shown = foregate("trace", "show", trace)
        self.assertEqual(shown.returncode, 0, shown.stderr)

    def test_rows_go_on_where_their_experts_are_and_the_text_stays(self):
        for ranks, exchange in ((2, "one-all-to-all"), (3, "one-all-to-all"), (2, "auto")):
            with Served(OPTIONS.model, "--expert-parallel-size", str(ranks), "--exchange", exchange) as served:
                self.assertEqual(answers(served), self.want)
                steps = figure(served, "moe_exchange_one_all_to_all_steps_total")
                if exchange == "auto":
                    continue
                self.assertGreater(steps, 0)
                self.assertGreater(figure(served, "moe_exchange_moves_total"), 0)
                self.assertGreater(figure(served, "moe_exchange_context_bytes_total"), 0)
                running, got = self.start_long(served)
                os.kill(workers(served)[0], signal.SIGKILL)
                for thread in running:
                    thread.join()
                self.ended_explicitly(got)
                self.recover(served)
                self.assertEqual(answers(served), self.want)

    def test_experts_follow_what_is_routed_and_the_text_stays(self):
        with Served(OPTIONS.model, "--expert-parallel-size", "2", "--placement", "auto", "--placement-interval", "0.2",
                    "--placement-moves", "8", "--placement-copies", "1") as served:
            until = time.monotonic() + 60
            while figure(served, "foregate_placement_plans_total") < 2:
                self.assertEqual(answers(served), self.want)
                self.assertLess(time.monotonic(), until, "no plan was made")
            plans, moves = (figure(served, f"foregate_placement_{what}_total") for what in ("plans", "moves"))
            self.assertGreater(moves, 0)
            self.assertLessEqual(moves, 8 * figure(served, "foregate_placement_plans_total"))
            self.assertEqual(answers(served), self.want)
            print(f"{plans:.0f} plans, {moves:.0f} moves", end=" ")

    def test_a_rank_that_dies_or_hangs_fails_requests_and_is_followed(self):
        with Served(OPTIONS.model, "--expert-parallel-size", "2") as served:
            for round, sent in enumerate((signal.SIGKILL, signal.SIGSTOP, signal.SIGKILL), 1):
                old = workers(served)
                running, got = self.start_long(served)
                os.kill(old[0], sent)
                start = time.monotonic()
                for thread in running:
                    thread.join()
                print(f"{sent.name}: requests over after {time.monotonic() - start:.2f} s,", [s for s, _ in got], end=", ")
                self.assertEqual(len(got), 3)
                self.ended_explicitly(got)
                self.recover(served)
                print(f"serves again after {time.monotonic() - start:.2f} s")
                self.assertGreaterEqual(figure(served, "foregate_rank_restarts_total"), round)
                self.assertNotEqual(workers(served), old)
            self.assertEqual(answers(served), self.want)

    def test_what_it_does_not_go_with_is_refused_by_name(self):
        plan = OPTIONS.work / "plan.json"
        plan.write_text("{}")
        for flags, says in ((("--exchange-transport", "nccl"), "exchange_transport"), (("--lookahead", "always"), "lookahead"),
                            (("--expert-memory", "1"), "expert_memory"), (("--placement", plan), "."),
                            (("--placement", OPTIONS.work / "none"), "none"),
                            (("--exchange", "one-all-to-all", "--expert-memory", "50%"), "exchange"),
                            (("--exchange", "auto", "--placement", "auto"), "exchange")):
            done = foregate("serve", OPTIONS.model, "--port", "0", "--expert-parallel-size", "2", *flags)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertRegex(done.stderr, says)

    def test_nobody_starts_a_rank_by_hand(self):
        done = foregate("rank")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("foregate serve", done.stderr)


if __name__ == "__main__":
    pack_e2e.main()
