"""Keys from files and the environment, limits of a client, other sites, and what the log tells of requests."""
import concurrent.futures
import json
import os
import subprocess

import openai
import pytest

from conftest import STORY

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_keys_of_files_and_the_admin_key(start, tmp_path):
    (tmp_path / "keys").write_text("# of clients\nfirst\nsha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n")
    server = start("--api-key-file", str(tmp_path / "keys"), env={"FOREGATE_ADMIN_API_KEY": "boss"})
    for key, stats in (("first", 401), ("secret", 401), ("boss", 200), ("wrong", 401), ("", 401)):
        headers = {"Authorization": f"Bearer {key}"}
        assert server.get("/v1/stats", headers)[0] == stats, key
        assert server.get("/v1/models", headers)[0] == (401 if key in ("wrong", "") else 200), key
    assert server.client(api_key="secret").models.list().data[0].id == "demo"
    document = json.loads(server.get("/openapi.json", {"Authorization": "Bearer first"})[1])
    assert document["paths"]["/v1/stats"]["get"]["security"] and not document["paths"]["/health"]["get"]["security"]


def test_a_client_is_limited_and_others_are_not(start):
    server = start("--api-key", "one", "--api-key", "two", "--client-requests-per-minute", "5",
                   "--client-concurrent-requests", "2", "--grpc-port", "0")
    one, two = server.client(api_key="one"), server.client(api_key="two")

    def ask(client):
        return client.completions.create(model="demo", prompt="x", max_tokens=1500, extra_body={"ignore_eos": True})

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        made = [pool.submit(ask, one) for _ in range(4)]
        assert sum(isinstance(one.exception(), openai.RateLimitError) for one in made) >= 1
    with pytest.raises(openai.RateLimitError) as refused:
        for _ in range(6):
            one.completions.create(model="demo", prompt="x", max_tokens=1)
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 12
    assert two.completions.create(model="demo", prompt="x", max_tokens=1).choices
    headers = {"Authorization": "Bearer one"}
    status, text, _ = server.get("/metrics", headers)
    assert status == 200 and 'foregate_client_refusals_total{reason="rate"} 1' in text


@pytest.mark.parametrize("flags, said", [(["--host", "0.0.0.0"], True), (["--host", "0.0.0.0", "--api-key", "k"], False), ([], False)])
def test_listening_wide_without_a_key_is_warned_of(start, flags, said):
    server = start(*flags)
    assert any("without --api-key" in line for line in server.log) == said


def test_other_sites_ask_only_when_named(start):
    server = start("--allowed-origins", "https://a.example")
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST",
               "Access-Control-Request-Headers": "authorization,content-type"}
    status, _, answer = server.get("/v1/chat/completions", headers, "OPTIONS")
    assert status == 204 and answer["access-control-allow-origin"] == "https://a.example"
    assert server.get("/v1/models", {"Origin": "https://b.example"})[2]["access-control-allow-origin"] is None


@pytest.mark.parametrize("flags, word", [(["--api-key", "two words"], "--api-key"), (["--api-key-file", "/none"], "--api-key-file"),
                                         (["--allowed-origins", "a.example"], "--allowed-origins"),
                                         (["--span-file", "/none/spans"], "--span-file"),
                                         (["--files-dir", "/proc/none"], "--files-dir")])
def test_bad_options_exit_2(flags, word):
    command = [os.environ["FOREGATE_E2E_BINARY"], "serve", os.environ["FOREGATE_E2E_MODEL"], "--port", "0", *flags]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert run.returncode == 2 and word in run.stderr, run.stderr


def test_a_trace_is_carried_into_the_log_and_the_spans(start, tmp_path):
    server = start("--span-file", str(tmp_path / "spans"), "--log-format", "json", "--enable-log-requests", "--grpc-port", "0")
    answer = server.client().chat.completions.create(model="demo", messages=STORY, max_tokens=8, extra_headers={"traceparent": PARENT})
    list(server.client().chat.completions.create(model="demo", messages=STORY, max_tokens=8, stream=True))
    assert server.stop() == 0
    objects = [json.loads(line) for line in server.log]
    ended = [one for one in objects if one["message"] == "request ended"]
    assert [one.get("trace_id") for one in ended] == [PARENT[3:35], None]
    assert ended[0]["id"] == answer.id and ended[0]["completion_tokens"] == answer.usage.completion_tokens
    assert ended[0]["total_ms"] >= ended[0]["first_token_ms"] > 0
    assert STORY[0]["content"] not in "".join(server.log)
    spans = [json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"][0] for line in (tmp_path / "spans").open()]
    assert len(spans) == 2 and spans[0]["traceId"] == PARENT[3:35] and spans[0]["parentSpanId"] == PARENT[36:52]
    assert int(spans[0]["endTimeUnixNano"]) > int(spans[0]["startTimeUnixNano"]) > 1.7e18
