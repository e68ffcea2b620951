"""The page at / in headless Chromium, over a server with experts on disk. Run by run_ui.py."""
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy"))
from make_metrics import Served  # noqa: E402

BINARY, MODEL = os.environ["FOREGATE_BINARY"], os.environ["FOREGATE_MODEL"]
PATIENCE_MS = 60_000


def picture(page, name):
    if folder := os.environ.get("FOREGATE_PICTURES"):
        page.screenshot(path=f"{folder}/{name}.png")


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.TemporaryDirectory()
        packed = Path(cls.work.name) / "demo"
        subprocess.run([BINARY, "pack", MODEL, packed], check=True, capture_output=True)
        cls.served = Served(BINARY, packed, "--expert-memory", "40%", "--lookahead", "always").__enter__()
        cls.play = sync_playwright().start()
        cls.browser = cls.play.chromium.launch(executable_path=os.environ["FOREGATE_BROWSER"], args=["--no-sandbox"])

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.play.stop()
        cls.served.__exit__()
        cls.work.cleanup()

    def open(self, **options):
        page = self.browser.new_page(viewport={"width": 1280, "height": 800}, **options)
        self.addCleanup(page.close)
        page.set_default_timeout(PATIENCE_MS)
        self.faults, self.asked = [], set()
        page.on("request", lambda request: self.asked.add(request.url.split("/", 3)[2]))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        page.goto(f"http://127.0.0.1:{self.served.port}/")
        expect(page.locator("#health")).to_have_text("ok", timeout=PATIENCE_MS)
        return page

    def ask(self, page, text):
        page.fill("#text", text)
        page.keyboard.press("Enter")

    def test_chat_streams_and_the_answer_is_the_servers(self):
        page = self.open()
        expect(page.locator("#model")).to_have_text("demo")
        page.click("summary")
        page.fill("#temperature", "0")
        page.fill("#max_tokens", "60")
        self.ask(page, "Tell me a story about a fox.")
        turn = page.locator(".turn.assistant")
        expect(turn.locator(".note")).to_contain_text("tokens", timeout=PATIENCE_MS)
        shown = turn.evaluate("node => node.firstChild.data")
        body = {"messages": [{"role": "user", "content": "Tell me a story about a fox."}], "temperature": 0, "max_tokens": 60}
        answer = json.loads(self.served.request("POST", "/v1/chat/completions", body)[1])
        self.assertEqual(shown, answer["choices"][0]["message"]["content"])
        expect(page.locator("#f-hits")).to_contain_text("%", timeout=PATIENCE_MS)
        self.ask(page, "And then?")  # the conversation goes on
        expect(page.locator(".turn.assistant .note")).to_have_count(2, timeout=PATIENCE_MS)
        page.wait_for_timeout(2500)
        picture(page, "chat")
        self.assertEqual(self.faults, [])
        self.assertEqual(self.asked, {f"127.0.0.1:{self.served.port}"}, "nothing comes from elsewhere")

    def test_a_new_chat_forgets_what_streams(self):
        page = self.open()
        page.route("**/v1/chat/completions", lambda route: None)
        self.ask(page, "Tell me a long story.")
        expect(page.locator("#stop")).to_be_visible()
        page.click("#clear")
        expect(page.locator("#send")).to_be_visible()
        expect(page.locator(".turn")).to_have_count(0)
        sent = []
        page.unroute("**/v1/chat/completions")
        page.on("request", lambda request: sent.append(request.post_data_json) if request.method == "POST" else None)
        self.ask(page, "Hello")
        expect(page.locator(".turn.assistant .note")).to_contain_text("tokens", timeout=PATIENCE_MS)
        self.assertEqual([body["messages"] for body in sent], [[{"role": "user", "content": "Hello"}]])

    def test_text_stays_text(self):
        page = self.open()
        evil = "<img src=x onerror=alert(1)><script>alert(2)</script>&lt;b&gt;"
        page.on("dialog", lambda dialog: self.faults.append(dialog.message))
        events = [{"choices": [{"delta": {"content": evil}}]}, {"choices": [{"delta": {}, "finish_reason": "stop"}]},
                  {"choices": [], "usage": {"completion_tokens": 3}}]
        stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        page.route("**/v1/chat/completions", lambda route: route.fulfill(body=stream, content_type="text/event-stream"))
        self.ask(page, evil)
        expect(page.locator(".turn.assistant .note")).to_contain_text("3 tokens")
        for turn in (".turn.user", ".turn.assistant"):
            self.assertEqual(page.locator(turn).evaluate("node => node.firstChild.data"), evil)
        page.unroute("**/v1/chat/completions")
        page.route("**/v1/chat/completions", lambda route: route.fulfill(status=400, json={"error": {"message": evil}}))
        self.ask(page, "again")
        expect(page.locator(".turn.error .note")).to_have_text(evil)
        self.assertEqual(page.locator("#log img, #log script, #log b").count(), 0)
        self.assertEqual([fault for fault in self.faults if "400" not in fault], [])

    def test_reasoning_comes_apart_from_the_answer(self):
        page = self.open()
        sent = []
        deltas = [{"role": "assistant", "content": ""}, {"reasoning_content": "Two and <b>two</b>", "reasoning": "Two and <b>two</b>"},
                  {"reasoning_content": " make four.", "reasoning": " make four."}, {"content": "It is "}, {"content": "4."}]
        events = [{"choices": [{"delta": delta}]} for delta in deltas]
        events += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": {"completion_tokens": 9}}]
        stream = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        page.route("**/v1/chat/completions", lambda route: (sent.append(route.request.post_data_json),
                                                            route.fulfill(body=stream, content_type="text/event-stream")))
        self.ask(page, "2 + 2?")
        turn = page.locator(".turn.assistant")
        expect(turn.locator(".note")).to_contain_text("9 tokens")
        self.assertEqual(turn.evaluate("node => node.firstChild.data"), "It is 4.")
        fold = page.locator(".reasoning")
        self.assertEqual(fold.evaluate("node => node.lastChild.data"), "Two and <b>two</b> make four.")
        self.assertFalse(fold.evaluate("node => node.open"), "it folds when the answer begins")
        fold.locator("summary").press("Enter")
        self.assertTrue(fold.evaluate("node => node.open"))
        picture(page, "reasoning")
        self.ask(page, "Sure?")
        expect(page.locator(".turn.assistant .note")).to_have_count(2)
        self.assertEqual([m["content"] for m in sent[1]["messages"]], ["2 + 2?", "It is 4.", "Sure?"], "reasoning is not sent back")
        page.click("#clear")
        expect(page.locator(".reasoning")).to_have_count(0)
        self.assertEqual(self.faults, [])

    def test_stop_by_escape(self):
        page = self.open()
        # A route that never ends: what is tested is the button, not the speed of the model.
        page.route("**/v1/chat/completions", lambda route: None)
        self.ask(page, "Tell me a long story.")
        expect(page.locator("#stop")).to_be_visible()
        expect(page.locator("#send")).to_be_hidden()
        page.keyboard.press("Escape")
        expect(page.locator(".turn.assistant .note")).to_contain_text("stopped after")
        expect(page.locator("#send")).to_be_visible()
        page.unroute("**/v1/chat/completions")

    def test_stop_ends_the_work_too(self):
        page = self.open()
        page.route("**/v1/chat/completions",
                   lambda route: route.continue_(post_data=json.dumps({**route.request.post_data_json, "ignore_eos": True, "max_tokens": 1900})))
        ended = re.compile(r'vllm:request_success_total\{[^}]*finished_reason="abort"[^}]*\} (\d+)')

        def aborted():
            return sum(map(int, ended.findall(self.served.request("GET", "/metrics")[1])))

        before = aborted()
        self.ask(page, "Tell me a long story.")
        expect(page.locator(".turn.assistant")).to_have_text(re.compile(".{20}"))
        page.click("#stop")
        expect(page.locator(".turn.assistant .note")).to_contain_text("stopped after")
        page.unroute("**/v1/chat/completions")
        until = time.monotonic() + 10
        while aborted() == before and time.monotonic() < until:
            time.sleep(0.05)
        self.assertEqual(aborted(), before + 1)
        self.ask(page, "And then?")  # what came before the stop is part of the conversation
        expect(page.locator(".turn.assistant .note")).to_have_count(2)
        self.assertEqual(self.faults, [])

    def test_wrong_settings_show_what_the_server_says(self):
        page = self.open()
        page.click("summary")
        page.evaluate("document.getElementById('temperature').value = '777'")
        self.ask(page, "Hello")
        expect(page.locator(".turn.error .note")).to_contain_text("temperature")

    def test_map_of_experts_by_keyboard(self):
        page = self.open(color_scheme="dark")
        self.served.request("POST", "/v1/completions", {"prompt": "Once upon a time", "max_tokens": 40})
        expect(page.locator("#experts")).to_be_visible(timeout=PATIENCE_MS)
        page.focus("#map")
        page.keyboard.press("ArrowDown")
        expect(page.locator("#cell")).to_contain_text("Layer 0, expert 0")
        for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
            page.keyboard.press(key)
        expect(page.locator("#cell")).to_contain_text("Layer 1, expert 2")
        for view in ("heat", "place", "hits", "ahead"):
            page.check(f"input[value={view}]")
            self.served.request("POST", "/v1/completions", {"prompt": "The dog", "max_tokens": 60})
            page.wait_for_timeout(1200)
            picture(page, f"map-{view}")
        # What is drawn is the map: residency on the canvas has as many colours as the server has places.
        places = {letter for layer in json.loads(self.served.request("GET", "/v1/experts")[1])["layers"] for letter in layer["place"]}
        self.assertLessEqual({"d", "m"}, places)
        page.check("input[value=place]")
        colours = page.evaluate("""() => { const c = document.getElementById('map'), p = c.getContext('2d'), seen = new Set();
          const l = experts.layers, w = c.width / l[0].experts, h = c.height / l.length;
          l.forEach((layer, y) => { for (let x = 0; x < layer.experts; ++x) seen.add(p.getImageData((x + .4) * w, (y + .4) * h, 1, 1).data.join()); });
          return seen.size; }""")
        self.assertGreaterEqual(colours, 2)
        self.assertEqual(self.faults, [])

    def test_narrow_window(self):
        page = self.open()
        page.set_viewport_size({"width": 400, "height": 800})
        wide = page.evaluate("document.documentElement.scrollWidth")
        self.assertLessEqual(wide, 400)
        picture(page, "narrow")

    def test_no_ui_and_same_tokens(self):
        body = {"prompt": "Once upon a time", "temperature": 0, "max_tokens": 32}
        with Served(BINARY, MODEL, "--no-ui") as bare:
            self.assertEqual(bare.request("GET", "/")[0], 404)
            want = json.loads(bare.request("POST", "/v1/completions", body)[1])["choices"]
            experts = json.loads(bare.request("GET", "/v1/experts")[1])
            self.assertEqual(experts["layers"][0]["place"], "m" * 16)
            self.assertGreater(experts["steps"], 0)
            self.assertEqual((experts["watched_steps"], experts["layers"][0]["rows"]), (0, [0] * 16), "nobody had looked")
        self.assertEqual(json.loads(self.served.request("POST", "/v1/completions", body)[1])["choices"], want)


if __name__ == "__main__":
    unittest.main()
