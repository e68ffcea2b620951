#!/usr/bin/env python3
"""`foregate pack` from outside: the same text from a packed model, kill -9 in the middle, full disks, wrong directories.

Needs nothing but Python. Usage: pack_e2e.py --binary FOREGATE --model DIR --work DIR [unittest options]"""
import argparse
import http.client
import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

INDEX, JOURNAL, JOURNAL_HEAD = "model.fgw.index.json", "pack.journal", 33
GGUF = Path(__file__).resolve().parents[1] / "golden" / "gguf"
OPTIONS = argparse.Namespace()


def foregate(*arguments, **options):
    command = [str(OPTIONS.binary), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def chat(model, *flags):
    done = foregate("chat", model, "--temperature", "0", "--max-tokens", "60", *flags,
                    input="Tell me a story about a fox.\nAnd then?\n")
    assert done.returncode == 0, done.stderr
    return done.stdout


def under_terminal(*arguments, stdin=b""):
    """Everything that the program draws on a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([str(OPTIONS.binary), *map(str, arguments)], stdin=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = []

    def read():
        try:
            while part := os.read(ours, 65536):
                shown.append(part)
        except OSError:
            pass  # the program closed its side

    reader = threading.Thread(target=read)
    reader.start()
    process.communicate(stdin, timeout=120)
    reader.join(10)
    os.close(ours)
    return b"".join(shown).decode(errors="replace")


class Served:
    """One run of `foregate serve`."""

    def __init__(self, model, *flags, starter=()):
        command = [*starter, str(OPTIONS.binary), "serve", str(model), "--port", "0", "--served-model-name", "demo", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.port = None
        for line in self.process.stderr:
            if found := re.search(r"listening on http://[^ ]*:(\d+)", line):
                self.port = int(found.group(1))
                break
        self.said = ""  # whole when the server has ended
        self.drain = threading.Thread(target=self.read_rest)
        self.drain.start()

    def read_rest(self):
        self.said = self.process.stderr.read()

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def __enter__(self):
        until = time.monotonic() + 60
        while self.request("GET", "/health")[0] != 200:
            assert time.monotonic() < until and self.process.poll() is None, "not ready"
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.drain.join()
        self.process.stderr.close()


class Pack(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(OPTIONS.work, ignore_errors=True)
        OPTIONS.work.mkdir(parents=True)
        cls.whole = OPTIONS.work / "whole"
        done = foregate("pack", OPTIONS.model, cls.whole, "-q", "q4_0", "--verify", "--max-file-size", "2MB")
        assert done.returncode == 0, done.stderr
        cls.arguments = ("-q", "q4_0", "--max-file-size", "2MB")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(OPTIONS.work, ignore_errors=True)

    def pack(self, out, **options):
        return foregate("pack", OPTIONS.model, out, *self.arguments, **options)

    def units(self, folder):
        return json.loads((folder / INDEX).read_text())["units"]

    def start(self, out):
        command = [str(OPTIONS.binary), "pack", str(OPTIONS.model), str(out), *self.arguments, "--threads", "1"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait_for_units(self, process, out, count):
        """Until `count` units are in the journal, or the program has ended."""
        journal = out / JOURNAL
        while process.poll() is None:
            try:
                if (journal.stat().st_size - JOURNAL_HEAD) // 17 >= count:
                    return
            except FileNotFoundError:
                pass

    def test_text_is_that_of_the_original(self):
        for quantization in ("none", "q8_0", "q4_0", "q4_k"):
            out = OPTIONS.work / f"text-{quantization}"
            self.assertEqual(foregate("pack", OPTIONS.model, out, "-q", quantization).returncode, 0)
            self.assertEqual(chat(out), chat(OPTIONS.model, "-q", quantization), quantization)

    def test_gguf_models_are_packed(self):
        for name, model in (("whole", GGUF / "olmoe-gqa-top3-norm.gguf"),
                            ("split", GGUF / "qwen2-moe-shared-top4-00001-of-00004.gguf")):
            out = OPTIONS.work / f"gguf-{name}"
            done = foregate("pack", model, out, "--verify")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual({path.suffix for path in out.iterdir()}, {".fgw", ".gguf", ".json"})
            facts = [json.loads(foregate("inspect", where, "--json").stdout) for where in (model, out)]
            packed = facts[1].pop("packed")
            self.assertEqual(packed["quantization"], "none")
            window = facts[1]["memory_plan"].pop("dense_window")  # of packed models only
            self.assertEqual(window["layers_streamed"], 0)
            self.assertEqual(facts[0]["memory_plan"], facts[1]["memory_plan"])
            self.assertEqual(facts[0]["architecture"], facts[1]["architecture"])
            self.assertEqual(foregate("inspect", out, "--verify").returncode, 0)
            self.assertIn("packed already", foregate("pack", model, out).stdout)

    def test_a_shape_is_a_model_for_every_command(self):
        out, shape = OPTIONS.work / "shape", ("--shape", "tiny", "-q", "q4_0", "--skew", "1")
        done = foregate("pack", *shape, out, "--verify")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("64 of them experts", done.stdout)
        self.assertIn("packed already", foregate("pack", *shape, out).stdout)
        self.assertEqual(foregate("inspect", out, "--verify").returncode, 0)
        tests = ("-p", "0", "-n", "4", "-r", "1", "-o", "json")
        rows = [json.loads(foregate("bench", *words, *tests).stdout)[0] for words in ((out,), shape)]
        for figure in ("model_n_params", "ops_per_token", "bytes_per_token"):  # the latter counts the experts chosen
            self.assertEqual(rows[0][figure], rows[1][figure])
        with Served(out) as served:
            body = {"model": "demo", "prompt": "hello to the sea", "max_tokens": 8, "temperature": 0}
            status, text = served.request("POST", "/v1/completions", body)
        self.assertEqual(status, 200, text)
        choice = json.loads(text)["choices"][0]
        self.assertTrue(choice["text"].isascii() and len(choice["text"]) >= 8, text)
        for words, says in ((("--shape", "gpt-oss-20b", OPTIONS.work / "x"), "not read from files"),
                            ((*shape, OPTIONS.model, OPTIONS.work / "x"), "no model"),
                            ((OPTIONS.work / "x",), "--shape"), (("--skew", "1", OPTIONS.model, "x"), "--shape")):
            done = foregate("pack", *words)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(says, done.stderr)
        self.assertFalse((OPTIONS.work / "x").exists())

    def test_server_answers_as_with_the_original(self):
        body = {"model": "demo", "prompt": "Once upon a time", "max_tokens": 48, "temperature": 0, "logprobs": 3}
        answers = []
        for model, flags in ((OPTIONS.model, ("-q", "q4_0")), (self.whole, ()), (self.whole, ("--no-verify-weights",))):
            with Served(model, *flags) as served:
                status, text = served.request("POST", "/v1/completions", body)
                self.assertEqual(status, 200, text)
                answers.append(json.loads(text)["choices"])
                facts = json.loads(served.request("GET", "/version")[1])
                figures = served.request("GET", "/metrics")[1]
            self.assertIn("foregate_weights_page_cache{", figures)
            self.assertIn("foregate_load_seconds{", figures)
            if model is self.whole:
                checked = "checksums not verified" if flags else "checksums verified"
                self.assertIn(f"packed interleave16, quantization q4_0, {checked}", facts["weights"])
        self.assertEqual(answers[0], answers[1])
        self.assertEqual(answers[0], answers[2])

    def test_killed_in_the_middle_and_taken_up(self):
        whole, count = contents(self.whole), len(self.units(self.whole))
        killed = 0
        for units in (0, 1, 2, count // 4, count // 2, count - 8):
            out = OPTIONS.work / f"killed-{units}"
            process = self.start(out)
            self.wait_for_units(process, out, units)
            process.kill()
            process.wait()
            if (out / INDEX).exists():
                continue  # it was faster
            killed += 1
            looked = foregate("inspect", out)
            self.assertEqual(looked.returncode, 1)
            self.assertTrue("unfinished" in looked.stderr or "config.json" in looked.stderr, looked.stderr)
            done = self.pack(out)
            self.assertEqual(done.returncode, 0, done.stderr)
            if units > 0:
                self.assertIn("went on behind the", done.stdout)
            self.assertEqual(contents(out), whole, f"killed behind {units} units")
        self.assertGreaterEqual(killed, 4)

    def test_killed_again_and_again(self):
        out = OPTIONS.work / "again"
        kills = 0
        while not (out / INDEX).exists() and kills < 200:
            process = self.start(out)
            time.sleep(0.02 + 0.01 * (kills % 7) + 0.002 * kills)  # ever longer: a busy machine gets there too
            process.kill()
            process.wait()
            kills += 1
        self.assertTrue((out / INDEX).exists())
        done = self.pack(out)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("packed already", done.stdout)
        self.assertEqual(contents(out), contents(self.whole), f"after {kills} kills")

    def test_a_full_disk_is_said_and_survived(self):
        def limit(most):
            return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

        out = OPTIONS.work / "full"
        for most in (10, 5_000, 1_000_000):
            done = self.pack(out, preexec_fn=limit(most))
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("File too large", done.stderr)
            self.assertIn(str(out), done.stderr)
            self.assertFalse((out / INDEX).exists())
        self.assertEqual(self.pack(out).returncode, 0)
        self.assertEqual(contents(out), contents(self.whole))

    def test_a_small_file_system_is_said_and_survived(self):
        """A real one that is full: seen before the first byte, and in the middle when another program takes the room."""
        out, whole = OPTIONS.work / "small", contents(self.whole)
        out.mkdir()
        size = sum(len(data) for data in whole.values())
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size // 2}", "tmpfs", out], capture_output=True, text=True)
        if mount.returncode != 0:
            self.skipTest("may not mount: " + mount.stderr.strip())
        try:
            done = self.pack(out / "p")
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertRegex(done.stderr, rf"{out}/p: \d+ bytes are still to be written, the disk has \d+ free")
            self.assertFalse(list((out / "p").glob("*.fgw")))
            subprocess.run(["mount", "-o", f"remount,size={2 * size}", out], check=True)
            process = self.start(out / "p")
            self.wait_for_units(process, out / "p", 8)
            os.kill(process.pid, signal.SIGSTOP)
            stat = Path(f"/proc/{process.pid}/stat")
            while stat.read_text().rpartition(")")[2].split()[0] not in "TZ":  # it may write until it has stopped
                time.sleep(0.01)
            stat = os.statvfs(out)
            if os.waitpid(process.pid, os.WNOHANG) == (0, 0) and not (out / "p" / INDEX).exists():
                with open(out / "other", "wb") as other:  # takes all but a page
                    other.write(bytes(max(0, stat.f_bavail - 2) * stat.f_bsize))
                process.send_signal(signal.SIGCONT)
                self.assertEqual(process.wait(60), 1)
                done = self.pack(out / "p")
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertRegex(done.stderr, r"\d+ bytes (are still to be written|of weights are not finished), the disk has \d+ free")
                (out / "other").unlink()
            else:
                process.send_signal(signal.SIGCONT)
                process.wait(60)
            done = self.pack(out / "p")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(contents(out / "p"), whole)
        finally:
            subprocess.run(["umount", out], check=True)

    def test_finished_directories_are_left_alone(self):
        before = contents(self.whole)
        done = self.pack(self.whole)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("packed already", done.stdout)
        other = foregate("pack", OPTIONS.model, self.whole, "-q", "q8_0")
        self.assertEqual(other.returncode, 2)
        self.assertIn("other options", other.stderr)
        self.assertEqual(contents(self.whole), before)

    def test_wrong_directories_are_refused(self):
        link, foreign = OPTIONS.work / "link", OPTIONS.work / "foreign"
        link.symlink_to(OPTIONS.model)
        foreign.mkdir()
        (foreign / "notes.txt").write_text("mine")
        for model, out, says in ((OPTIONS.model, OPTIONS.model, "the model itself"), (OPTIONS.model, link, "the model itself"),
                                 (OPTIONS.model, foreign, "not empty"), (self.whole, OPTIONS.work / "x", "packed already"),
                                 (OPTIONS.work / "none", OPTIONS.work / "x", "not a directory"),
                                 (OPTIONS.model, foreign / "notes.txt", "not a directory"),
                                 (foreign / "notes.txt", OPTIONS.work / "x", "neither a directory nor a GGUF file")):
            before = contents(foreign), contents(OPTIONS.model)
            done = foregate("pack", model, out)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(says, done.stderr)
            self.assertEqual((contents(foreign), contents(OPTIONS.model)), before)
        self.assertFalse((OPTIONS.work / "x").exists())

    def test_one_writer_at_a_time(self):
        out = OPTIONS.work / "two"
        first = self.start(out)
        self.wait_for_units(first, out, 1)
        os.kill(first.pid, signal.SIGSTOP)
        second = self.pack(out)
        os.kill(first.pid, signal.SIGCONT)
        self.assertEqual(second.returncode, 1)
        self.assertIn("another process", second.stderr)
        self.assertEqual(first.wait(60), 0)
        self.assertEqual(contents(out), contents(self.whole))

    def test_damage_is_found_by_inspect_serve_and_pack(self):
        out = OPTIONS.work / "damaged"
        shutil.copytree(self.whole, out)
        self.assertEqual(foregate("inspect", out, "--verify").returncode, 0)
        unit = next(u for u in self.units(out) if (u.get("layer"), u.get("expert")) == (1, 3))
        data = sorted(out.glob("*.fgw"))[unit["file"]]
        with open(data, "r+b") as file:
            file.seek(unit["offset"] + 100)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
        for arguments, code in ((("inspect", out, "--verify"), 1), (("serve", out, "--port", "0"), 2),
                                (("pack", OPTIONS.model, out, *self.arguments, "--verify"), 1)):
            done = foregate(*arguments)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn("expert 3 of layer 1", done.stderr)
            self.assertIn(data.name, done.stderr)
        facts = json.loads(foregate("inspect", out, "--verify", "--json").stdout)["packed"]
        self.assertEqual(facts["damaged_units"], 1)
        self.assertEqual(facts["quantization"], "q4_0")

    def test_progress_is_drawn_on_a_terminal(self):
        out = OPTIONS.work / "bar"
        bar = r"\[#+\.*\] +\d+ %"
        self.assertRegex(under_terminal("pack", OPTIONS.model, out, "--verify"), f"(?s)pack {bar}.*verify {bar}")
        self.assertRegex(under_terminal("chat", out), f"weights {bar}")
        self.assertRegex(under_terminal("chat", OPTIONS.model), f"weights {bar}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--binary", "--model", "--work"):
        parser.add_argument(name, required=True, type=lambda text: Path(text).resolve())
    _, rest = parser.parse_known_args(namespace=OPTIONS)
    unittest.main(module="__main__", argv=[sys.argv[0], *rest], verbosity=2)


if __name__ == "__main__":
    main()
