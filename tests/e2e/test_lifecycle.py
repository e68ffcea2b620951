"""Start, options, keys, slow readers, drain and exit."""
import concurrent.futures
import json
import os
import shutil
import signal
import subprocess
import time

import openai
import pytest

from conftest import STORY

LONG = {"messages": STORY, "max_tokens": 1500, "ignore_eos": True, "temperature": 0, "stream": True}


def open_stream(server, body, receive_buffer=None):
    """Sends a streamed request and returns the socket without reading the answer."""
    text = json.dumps(body)
    connection = server.raw(receive_buffer)
    connection.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
    return connection


def read_rest(connection):
    data = b""
    try:
        while not data.endswith(b"0\r\n\r\n") and (piece := connection.recv(65536)):
            data += piece
    except OSError:
        pass
    return data


def text_of(data):
    """The content of a raw chunked stream."""
    body = data.partition(b"\r\n\r\n")[2]
    events = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        events += rest[:int(size, 16)]
        body = rest[int(size, 16) + 2:]
    lines = [line[6:] for line in events.decode().split("\n\n") if line.startswith("data: {")]
    return "".join(choice["delta"].get("content", "") for line in lines for choice in json.loads(line)["choices"])


def test_ready_line_has_a_curl_line_that_works(start):
    server = start()
    server.wait_for(lambda: any("curl" in line for line in server.out), "no curl line")
    printed = "".join(server.out)
    assert f"http://127.0.0.1:{server.port}" in printed and "device: cpu" in printed
    line = next(line for line in server.out if "curl" in line).strip()
    answer = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=60).stdout
    assert answer.endswith("data: [DONE]\n\n")


def test_health_is_503_while_loading(start, tmp_path):
    shutil.copytree(os.environ["FOREGATE_E2E_MODEL"], tmp_path / "model")
    (tmp_path / "model" / "config.json").unlink()
    os.mkfifo(tmp_path / "model" / "config.json")  # whoever opens it waits
    server = start(model=str(tmp_path / "model"), wait=False)
    status, body, _ = server.get("/health")
    assert (status, json.loads(body)["status"]) == (503, "loading")
    assert server.get("/health/live")[0] == 200
    status, body, headers = server.post("/v1/chat/completions", {"messages": STORY})
    assert status == 503 and headers["retry-after"] and "loading" in body
    assert server.get("/v1/models")[0] == 503
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(5) == 0


@pytest.mark.parametrize("flags, word", [(["--port", "x"], "--port"), (["--nonsense"], "nonsense"),
                                         (["--isa", "mmx"], "--isa"), (["--max-num-seqs", "-1"], "--max-num-seqs"),
                                         (["--host", "no.such.host.invalid"], "--host"),
                                         (["--config", "/nonexistent"], "--config"), (["-m", "/nonexistent"], "nonexistent"),
                                         (["--chat-template", "/nonexistent"], "nonexistent")])
def test_bad_flags_exit_2(flags, word):
    command = [os.environ["FOREGATE_E2E_BINARY"], "serve", *flags]
    if "-m" not in flags:
        command += ["-m", os.environ["FOREGATE_E2E_MODEL"]]
    if "--port" not in flags:
        command += ["--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and word in done.stderr


def test_missing_model_and_bad_model_exit_2(tmp_path):
    binary = os.environ["FOREGATE_E2E_BINARY"]
    assert subprocess.run([binary, "serve"], capture_output=True, timeout=30).returncode == 2
    done = subprocess.run([binary, "serve", tmp_path, "--port", "0"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "config.json" in done.stderr
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(os.path.abspath(os.path.join(os.environ["FOREGATE_E2E_MODEL"], name)))
    (tmp_path / "tokenizer.json").write_text("{}")
    done = subprocess.run([binary, "serve", tmp_path, "--port", "0"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "tokenizer.json" in done.stderr


def test_port_in_use(start):
    server = start()
    done = subprocess.run([os.environ["FOREGATE_E2E_BINARY"], "serve", os.environ["FOREGATE_E2E_MODEL"], "--port",
                           str(server.port)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and str(server.port) in done.stderr


def test_environment_sets_options(start):
    server = start(env={"FOREGATE_MAX_MODEL_LEN": "64", "FOREGATE_MAX_NUM_SEQS": "3"})
    assert server.client().models.list().data[0].model_extra["max_model_len"] == 64
    with pytest.raises(openai.BadRequestError):
        server.client().chat.completions.create(model="demo", messages=STORY, max_tokens=64)


def test_forced_isa_and_version(start):
    server = start("--isa", "generic", "--threads", "1")
    facts = json.loads(server.get("/version")[1])
    assert facts["isa"] == "generic" and facts["threads"] == "1" and facts["uptime_seconds"] > 0


def test_device_and_reason_in_version_log_and_metrics(start):
    server = start("--device", "cpu")
    facts = json.loads(server.get("/version")[1])
    assert facts["device_reason"] == "--device cpu" and facts["device"].startswith("cpu")
    assert server.metric("foregate_device_info", device="cpu", asked="cpu", described=facts["device"], reason="--device cpu") == 1
    assert any("(--device cpu)" in line for line in server.log), server.log
    module = os.path.join(os.path.dirname(os.path.abspath(os.environ["FOREGATE_E2E_BINARY"])), "libforegate_cuda_host.so")
    if not os.path.exists(module):
        return
    server = start("--device", "cuda", "--cuda-module", module, "--cublaslt-rows", "0")
    facts = json.loads(server.get("/version")[1])
    assert facts["device_reason"].startswith("--device cuda: GPU 0 by ") and "emulat" in facts["device"], facts
    assert server.metric("foregate_device_info", device="cuda", asked="cuda", described=facts["device"], reason=facts["device_reason"]) == 1


def test_keys_and_values_in_int8_say_so_and_repeat_themselves(start):
    server = start("--kv-cache-dtype", "int8")
    facts = json.loads(server.get("/version")[1])
    assert facts["kv_cache_dtype"] == "int8"
    assert server.metric("vllm:cache_config_info", cache_dtype="int8") == 1
    assert any("int8" in line and "warn" in line.lower() for line in server.log), server.log
    texts = []
    for salt in ("a", "a", "b"):  # computed, found in the prefix cache, computed again
        answer = server.post("/v1/chat/completions", {"messages": STORY, "temperature": 0, "max_tokens": 80, "cache_salt": salt})
        texts.append(json.loads(answer[1])["choices"])
    assert texts[0] == texts[1] == texts[2]
    assert server.metric("vllm:prefix_cache_hits_total") > 0


def test_api_keys(start):
    server = start("--api-key", "first-key", "--api-key", "second-key")
    for key in ("first-key", "second-key"):
        assert server.client(api_key=key).models.list().data[0].id == "demo"
    for key in ("", "first-ke", "first-key2", "third", "FIRST-KEY"):
        with pytest.raises(openai.AuthenticationError):
            server.client(api_key=key or "x").models.list()
    assert server.get("/health")[0] == 200 and server.get("/health/live")[0] == 200
    for path in ("/metrics", "/version", "/v1/models", "/v1/models/demo"):
        assert server.get(path)[0] == 401, path
    for path in ("/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"):
        assert server.post(path, {"prompt": "x"})[0] == 401, path


def test_queue_is_bounded(start):
    server = start("--max-num-seqs", "1", "--max-num-queued-reqs", "2")
    streams = [open_stream(server, LONG) for _ in range(12)]
    heads = [stream.recv(2000) for stream in streams]
    refused = [head for head in heads if b" 503 " in head[:20]]
    assert refused and all(b"retry-after" in head for head in refused)
    assert any(b" 200 " in head[:20] for head in heads)
    for stream in streams:
        stream.close()
    server.wait_for(server.idle, "blocks were not freed", 10)


def test_connections_are_bounded(start):
    server = start("--max-connections", "20")
    held = [server.raw() for _ in range(20)]
    time.sleep(0.2)
    with server.raw() as extra:
        assert b" 503 " in extra.recv(1000)
    for connection in held:
        connection.close()
    server.wait_for(lambda: server.get("/health")[0] == 200, "does not recover")


def test_idle_connections_are_closed(start):
    server = start("--idle-timeout", "0.3")
    with server.raw() as connection:
        begin = time.monotonic()
        assert connection.recv(10) == b"" and time.monotonic() - begin < 3


def test_total_bodies_are_bounded(start):
    server = start("--max-total-body-bytes", "1MB", "--max-body-bytes", "900KB")
    held = []
    for _ in range(2):
        connection = server.raw()
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 800000\r\n\r\n{")
        held.append(connection)
        time.sleep(0.1)
    assert b" 503 " in held[1].recv(1000)
    for connection in held:
        connection.close()
    server.wait_for(lambda: server.post("/v1/completions", {"prompt": "x", "max_tokens": 1})[0] == 200, "stays refused")


SMALL_BUFFERS = ("--stream-buffer-bytes", "4096", "--socket-send-buffer-bytes", "4096")


def test_slow_reader_pauses_only_itself(start):
    server = start(*SMALL_BUFFERS, "--stall-timeout", "60")
    expected = text_of(read_rest(open_stream(server, LONG)))
    before = server.metric("vllm:generation_tokens_total")
    slow = open_stream(server, LONG, receive_buffer=4096)
    last = [-1.0]

    def still():
        now = server.metric("vllm:generation_tokens_total")
        time.sleep(0.3)
        same, last[0] = now == last[0], now
        return same and now > before

    server.wait_for(still, "the slow reader was never paused")
    assert last[0] - before < 1400, "the stream ran on although nobody read it"
    assert server.metric("vllm:kv_cache_usage_perc") > 0
    quick = server.client().chat.completions.create(model="demo", messages=STORY, max_tokens=20, temperature=0)
    assert quick.choices[0].message.content == expected[:len(quick.choices[0].message.content)]
    data = read_rest(slow)
    assert b"data: [DONE]" in data and text_of(data) == expected
    server.wait_for(server.idle, "blocks were not freed")


def test_stalled_reader_is_dropped(start):
    server = start(*SMALL_BUFFERS, "--stall-timeout", "0.5")
    stalled = open_stream(server, LONG, receive_buffer=4096)
    server.wait_for(lambda: server.metric("foregate:http_stalled_clients_total") == 1, "never dropped", 15)
    server.wait_for(server.idle, "blocks were not freed")
    data = read_rest(stalled)
    assert b"[DONE]" not in data and not data.endswith(b"0\r\n\r\n")


def test_drain_finishes_what_runs(start):
    server = start("--shutdown-timeout", "30")
    expected = text_of(read_rest(open_stream(server, LONG)))
    stream = open_stream(server, LONG)
    first = stream.recv(500)
    idle = server.raw()
    server.process.send_signal(signal.SIGTERM)
    server.wait_for(lambda: "draining" in "".join(server.log), "no drain")
    status, body, _ = server.get("/health")
    assert status == 503 and json.loads(body)["status"] == "draining"
    assert server.post("/v1/completions", {"prompt": "x"})[0] == 503
    assert idle.recv(10) == b""
    data = first + read_rest(stream)
    assert b"data: [DONE]" in data and text_of(data) == expected
    assert server.process.wait(10) == 0


def test_drain_fails_what_does_not_finish(start):
    server = start("--shutdown-timeout", "0.2", *SMALL_BUFFERS)
    stream = open_stream(server, LONG, receive_buffer=4096)
    stream.recv(500)
    whole = open_stream(server, {**LONG, "stream": False, "n": 8})
    time.sleep(0.1)
    server.process.send_signal(signal.SIGTERM)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        streamed, answered = pool.map(read_rest, (stream, whole))
    assert b"[DONE]" not in streamed and b'"error"' in streamed
    assert b" 503 " in answered[:20] and b"shutting down" in answered
    assert server.process.wait(10) == 0


def test_second_signal_leaves_at_once(start):
    server = start("--shutdown-timeout", "60", *SMALL_BUFFERS)
    stream = open_stream(server, LONG, receive_buffer=4096)
    stream.recv(100)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for(lambda: "draining" in "".join(server.log), "no drain")
    assert server.process.poll() is None
    begin = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(5) == 128 + signal.SIGTERM and time.monotonic() - begin < 2


def test_idle_server_leaves_at_once(start):
    server = start()
    for stop in (signal.SIGINT,):
        server.process.send_signal(stop)
        assert server.process.wait(5) == 0


def test_own_chat_template(start, tmp_path):
    template = tmp_path / "template.jinja"
    template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    server = start("--chat-template", str(template))
    by_chat = json.loads(server.post("/tokenize", {"messages": [{"role": "user", "content": "Once upon"}]})[1])
    by_text = json.loads(server.post("/tokenize", {"prompt": "Once upon", "add_special_tokens": False})[1])
    assert by_chat == by_text


def test_generation_config_vllm_is_neutral(start, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(os.environ["FOREGATE_E2E_MODEL"], model)
    (model / "generation_config.json").write_text(json.dumps({"temperature": 0.01, "top_k": 1}))

    def texts(server):
        client = server.client()
        return {client.completions.create(model="demo", prompt="Once", max_tokens=20, seed=seed).choices[0].text
                for seed in range(4)}

    assert len(texts(start(model=str(model)))) == 1
    assert len(texts(start("--generation-config", "vllm", model=str(model)))) > 1
