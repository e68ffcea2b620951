"""What the scripts of service behaviour share: a server to measure, and requests over plain sockets. Needs only Python."""
import asyncio
import json
import os
import random
import subprocess
import time
import urllib.request


class Server:
    """One run of `foregate serve` on any free port, ready when made."""

    def __init__(self, binary, model, *flags):
        self.process = subprocess.Popen([binary, "serve", model, "--port", "0", "--no-grpc", "--log-level", "error", *map(str, flags)],
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            if " serves " in line:
                self.address = line.split(" at ")[1].strip()
                self.port = int(self.address.rsplit(":", 1)[1])
                return
        raise SystemExit("the server did not start")

    def get(self, path):
        return urllib.request.urlopen(self.address + path, timeout=30).read().decode()

    def stats(self):
        return json.loads(self.get("/v1/stats"))

    def metric(self, name):
        return sum(float(line.rsplit(" ", 1)[1]) for line in self.get("/metrics").splitlines() if line.startswith(name))

    def rss(self):
        """Bytes of memory that are its own."""
        with open(f"/proc/{self.process.pid}/status") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
        raise SystemExit("no RssAnon")

    def cpu(self):
        """Seconds of processor time that it has used."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        """Its exit code after SIGTERM."""
        self.process.terminate()
        return self.process.wait(timeout=60)


class Answer:
    """What became of one request. Times in seconds from before the connection was opened."""

    def __init__(self):
        self.status, self.error, self.first, self.end, self.text, self.tokens, self.finish = 0, None, None, None, "", 0, None

    @property
    def ok(self):
        return self.status == 200 and self.error is None and self.finish is not None


def body_of(prompt, tokens, **more):
    return {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True}, **more}


def head_of(path, body, headers=None):
    lines = [f"POST {path} HTTP/1.1", "Host: bench", "Content-Type: application/json", f"Content-Length: {len(body)}",
             "Connection: close", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def ask(port, body, headers=None, path="/v1/completions", limit_s=120):
    """Streams one answer to its end."""
    answer, began = Answer(), time.monotonic()
    try:
        await asyncio.wait_for(_ask(port, json.dumps(body).encode(), headers, path, answer, began), limit_s)
    except (OSError, EOFError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
        answer.error = type(error).__name__
    answer.end = time.monotonic() - began
    return answer


async def _ask(port, body, headers, path, answer, began):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head_of(path, body, headers) + body)
        await writer.drain()
        line = await reader.readline()
        if not line:
            raise EOFError
        answer.status = int(line.split()[1])
        while (await reader.readline()).strip():
            pass
        if answer.status != 200:
            await reader.read()
            return
        async for line in reader:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                answer.error = event["error"]["message"]
                continue
            if event.get("usage"):
                answer.tokens = event["usage"]["completion_tokens"]
            for choice in event.get("choices", ()):
                if choice.get("text"):
                    answer.first = answer.first or time.monotonic() - began
                    answer.text += choice["text"]
                answer.finish = choice.get("finish_reason") or answer.finish
    finally:
        writer.close()


async def open_loop(port, jobs):
    """jobs: (second, body, headers). Each is sent at its time, whatever became of the others; answers in that order."""
    start = time.monotonic() + 0.1

    async def one(at, body, headers):
        await asyncio.sleep(max(0.0, start + at - time.monotonic()))
        return await ask(port, body, headers)

    return await asyncio.gather(*(one(*job) for job in jobs))


async def closed_loop(port, bodies, clients):
    """So many clients, each asks for the next body when it has its answer."""
    left, answers = list(enumerate(bodies))[::-1], [None] * len(bodies)

    async def client():
        while left:
            number, body = left.pop()
            answers[number] = await ask(port, body)

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


def poisson(rate, seconds, seed):
    draw, at, times = random.Random(seed), 0.0, []
    while True:
        at += draw.expovariate(rate)
        if at >= seconds:
            return times
        times.append(at)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def words(draw, count):
    return " ".join(draw.choice(("fox", "river", "stone", "cloud", "little", "house", "walked", "said", "and", "the")) for _ in range(count))
