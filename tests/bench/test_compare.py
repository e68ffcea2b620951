#!/usr/bin/env python3
"""The comparison scripts against stand-in programs whose speed is known. Run with plain python3."""
import argparse
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

import compare_logprobs  # noqa: E402
import compare_peers  # noqa: E402
import compare_servers  # noqa: E402

BENCH = """#!{python}
# Prints llama-bench's JSON: pp at `rate`, tg at a tenth of it; each start is logged.
import json, sys
open({log!r}, "a").write({name!r} + "\\n")
value = dict(zip(sys.argv[1:], sys.argv[2:]))
rows = [dict(n_prompt=int(value["-p"]), n_gen=0, avg_ts={rate}, samples_ts=[{rate}]),
        dict(n_prompt=0, n_gen=int(value["-n"]), avg_ts={rate} / 10, samples_ts=[{rate} / 10])]
if {limit}:
    rows[1]["limit_ts"] = {limit}
    rows[0]["peak_rss_bytes"] = 3 * 2**30
print(json.dumps(rows))
"""

SERVER = """#!{python}
# Streams max_tokens chunks: the first after {first} s, the others {gap} s apart; keeps each body it was sent.
import json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        open({log!r}, "ab").write(body + b"\\n")
        body = json.loads(body)
        if {fails}:
            self.send_error(500)
            return
        self.send_response(200)
        self.end_headers()
        time.sleep({first})
        for number in range(body["max_tokens"]):
            time.sleep({gap} if number else 0)
            self.wfile.write(b'data: {{"choices": [{{"text": "x"}}]}}\\n\\n')
        usage = {{"completion_tokens": body["max_tokens"]}}
        self.wfile.write(b"data: " + json.dumps({{"choices": [], "usage": usage}}).encode() + b"\\n\\ndata: [DONE]\\n\\n")

value = dict(zip(sys.argv[1:], sys.argv[2:]))
ThreadingHTTPServer(("127.0.0.1", int(value["--port"])), Handler).serve_forever()
"""


class Scripts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.log = self.folder / "log"
        self.model = self.folder / "model.gguf"
        self.model.write_bytes(b"x" * 1000)

    def program(self, name, template, **values):
        path = self.folder / name
        path.write_text(template.format(python=sys.executable, log=str(self.log), name=name, **values))
        path.chmod(0o755)
        return str(path)

    def run_script(self, script, *words):
        out = self.folder / "out.json"
        done = subprocess.run([sys.executable, "-B", str(HERE / script), *words, "--json", str(out), str(self.model)],
                              capture_output=True, text=True, timeout=120)
        return done, json.loads(out.read_text()) if out.exists() else None

    def test_peers_take_turns_and_ratios_are_of_medians(self):
        ours = self.program("ours", BENCH, rate=300.0, limit=40.0)
        peer = self.program("peer", BENCH, rate=100.0, limit=0)
        done, report = self.run_script("compare_peers.py", "--foregate", ours, "--llama-bench", peer, "--rounds", "3")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.log.read_text().split(), ["ours", "peer", "peer", "ours", "ours", "peer"])
        prefill, decode = report["models"][0]["tests"]
        self.assertEqual((prefill["test"], decode["test"]), ("pp512", "tg128"))
        self.assertAlmostEqual(prefill["engines"]["llama.cpp"]["ours_over"], 3.0)
        self.assertEqual(prefill["engines"]["foregate"]["n"], 3)
        self.assertAlmostEqual(decode["engines"]["foregate"]["of_limit"], 0.75)
        self.assertNotIn("of_limit", decode["engines"]["llama.cpp"])
        self.assertEqual(report["models"][0]["peak_rss_mib"]["foregate"], 3 * 1024)
        self.assertGreater(report["models"][0]["peak_rss_mib"]["llama.cpp"], 1.0)

    def test_a_peer_that_fails_is_named_and_the_others_go_on(self):
        ours = self.program("ours", BENCH, rate=300.0, limit=40.0)
        bad = self.program("bad", "#!/bin/sh\necho unknown architecture >&2\nexit 3\n")
        done, report = self.run_script("compare_peers.py", "--foregate", ours, "--ik-llama-bench", bad, "--rounds", "2")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(report["models"][0]["failures"], {"ik_llama.cpp": "exit 3: unknown architecture"})
        self.assertEqual(report["models"][0]["tests"][0]["engines"]["foregate"]["n"], 2)

    def test_a_run_that_takes_too_long_is_ended(self):
        slow = self.program("slow", "#!{python}\nimport time\ntime.sleep(60)\n")
        done, report = self.run_script("compare_peers.py", "--llama-bench", slow, "--timeout", "1")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(report["models"][0]["failures"], {"llama.cpp": "exit -9: no message"})

    def test_log_probabilities_are_compared_by_token(self):
        ours = [{7: -1.0, 3: -2.0, 5: -4.0}, {1: -0.5, 2: -1.5}]
        theirs = [{7: -1.25, 3: -2.0, 9: -3.0}, {2: -0.5, 1: -0.75}]
        found = compare_logprobs.apart(ours, theirs)
        self.assertEqual(found, {"compared": 4, "median": 0.25, "most": 1.0, "same_first": 1, "prompts": 2})

    def test_servers_are_timed_by_their_streams(self):
        ours = self.program("ours", SERVER, first=0.05, gap=0.01, fails=False)
        peer = self.program("peer", SERVER, first=0.20, gap=0.04, fails=False)
        done, report = self.run_script("compare_servers.py", "--foregate", ours, "--llama-server", peer, "--clients",
                                       "2", "--requests", "2", "--rounds", "1", "-n", "8", "-p", "4")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        result = report["results"][0]
        for name, first, gap in (("foregate", 0.05, 10), ("llama-server", 0.20, 40)):
            run = result["runs"][name][0]
            self.assertEqual((run["replies"], run["tokens"]), (4, 32))
            self.assertGreaterEqual(run["ttft_p50_s"], first)
            self.assertGreaterEqual(run["itl_p50_ms"], 0.9 * gap)
            self.assertLess(run["output_tokens_per_second"], 2 * 8 / (first + 7 * gap / 1000))
        self.assertGreater(result["ours_over"]["output_tokens_per_second"], 1.0)
        self.assertLess(result["ours_over"]["ttft_p95_s"], 1.0)

    def test_both_servers_get_equal_bodies_and_no_prompt_twice(self):
        ours = self.program("ours", SERVER, first=0, gap=0, fails=False)
        peer = self.program("peer", SERVER, first=0, gap=0, fails=False)
        done, _ = self.run_script("compare_servers.py", "--foregate", ours, "--llama-server", peer, "--clients", "3",
                                  "--requests", "1", "--rounds", "1", "-n", "2", "-p", "5")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        bodies = [json.loads(line) for line in self.log.read_text().splitlines()]
        prompts = [tuple(body["prompt"]) for body in bodies]
        self.assertEqual(len(prompts), 2 * (1 + 3))
        self.assertEqual(len(set(prompts)), 4)
        self.assertEqual(sorted(prompts[:4]), sorted(prompts[4:]))
        self.assertTrue(all(len(body["prompt"]) == 5 and body["ignore_eos"] for body in bodies))

    def test_a_server_that_answers_errors_fails_the_run(self):
        bad = self.program("bad", SERVER, first=0, gap=0, fails=True)
        done, report = self.run_script("compare_servers.py", "--llama-server", bad, "--clients", "2", "--requests", "1",
                                       "--rounds", "1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("HTTP 500", report["results"][0]["runs"]["llama-server"][0]["errors"][0])

    def test_names_and_percentiles(self):
        self.assertEqual(compare_peers.test_name({"n_prompt": 64, "n_gen": 32}), "pp64+tg32")
        self.assertEqual(compare_peers.test_name({"n_prompt": 0, "n_gen": 32, "n_depth": 8}), "tg32 @ d8")
        self.assertEqual(compare_servers.percentile(list(range(100)), 0.95), 95)
        options = argparse.Namespace(prompt=64, generate=128, threads=2, llama_server="s", llama_args="--cache-ram 0")
        command = compare_servers.server_command(compare_servers.PEER, "m", 1, 8, options)
        self.assertEqual(command[command.index("-c") + 1], str(256 * 8))
        self.assertEqual(command[-2:], ["--cache-ram", "0"])


if __name__ == "__main__":
    unittest.main()
