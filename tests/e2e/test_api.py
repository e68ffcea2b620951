"""The API through the official client."""
import concurrent.futures
import json

import openai
import pytest

from conftest import STORY


def chat(client, **options):
    return client.chat.completions.create(**{"model": "demo", "messages": STORY, "max_tokens": 24, "temperature": 0} | options)


def joined(stream):
    """Texts by choice, finish reasons, usage of a streamed chat."""
    texts, ends, usage = {}, {}, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            assert choice.index not in ends, "a chunk after the end of its choice"
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
            if choice.finish_reason:
                ends[choice.index] = choice.finish_reason
    return texts, ends, usage


def test_models(client):
    models = client.models.list().data
    assert [model.id for model in models] == ["demo"]
    assert client.models.retrieve("demo").id == "demo"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_chat(client):
    answer = chat(client)
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-")
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and len(choice.message.content) > 10
    assert choice.finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert 0 < answer.usage.completion_tokens <= 24
    timings = answer.model_extra["timings"]
    assert timings["predicted_n"] == answer.usage.completion_tokens and timings["prompt_per_second"] > 0
    # By the engine's clock: not the moment in which a burst of events was read.
    assert timings["predicted_n"] < 2 or timings["predicted_per_token_ms"] > 0.01


def test_stream_equals_whole(client):
    whole = chat(client)
    stream = chat(client, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert chunks[-2].choices[0].finish_reason and not chunks[-2].choices[0].delta.content
    texts, ends, _ = joined(chunks)
    assert texts == {0: whole.choices[0].message.content}
    assert ends == {0: whole.choices[0].finish_reason}
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_stream_ends_with_done(server):
    body = {"messages": STORY, "max_tokens": 4, "stream": True}
    status, text, headers = server.post("/v1/chat/completions", body)
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    events = [event for event in text.split("\n\n") if event]
    assert events[-1] == "data: [DONE]" and text.count("[DONE]") == 1
    assert all(json.loads(event[6:])["object"] == "chat.completion.chunk" for event in events[:-1])


def test_continuous_usage(client):
    options = {"include_usage": True, "continuous_usage_stats": True}
    counts = [chunk.usage.completion_tokens for chunk in chat(client, stream=True, stream_options=options)]
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] > 0


def test_chat_logprobs(client):
    answer = chat(client, logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens - (answer.choices[0].finish_reason == "stop")
    assert "".join(entry.token for entry in content) == answer.choices[0].message.content
    for entry in content:
        assert len(entry.top_logprobs) == 3 and entry.logprob <= 0
        assert bytes(entry.bytes).decode() == entry.token
        assert entry.logprob == entry.top_logprobs[0].logprob  # greedy
        assert entry.top_logprobs == sorted(entry.top_logprobs, key=lambda other: -other.logprob)
    plain = chat(client, logprobs=True)
    assert plain.choices[0].logprobs.content[0].top_logprobs == []
    assert [entry.logprob for entry in plain.choices[0].logprobs.content] == [entry.logprob for entry in content]


def test_streamed_logprobs_equal_whole(client):
    whole = chat(client, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    streamed = []
    for chunk in chat(client, logprobs=True, top_logprobs=2, stream=True):
        if chunk.choices[0].logprobs:
            streamed += chunk.choices[0].logprobs.content
    assert streamed == whole


def test_n(client):
    answer = chat(client, n=3, temperature=1.0, seed=5)
    texts = [choice.message.content for choice in answer.choices]
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len(set(texts)) > 1, "three samples at temperature 1 should differ"
    streamed, ends, _ = joined(chat(client, n=3, temperature=1.0, seed=5, stream=True))
    assert [streamed[i] for i in range(3)] == texts and sorted(ends) == [0, 1, 2]
    greedy = chat(client, n=3)
    assert len({choice.message.content for choice in greedy.choices}) == 1


def test_seed(client):
    first = chat(client, temperature=1.0, seed=7).choices[0].message.content
    assert chat(client, temperature=1.0, seed=7).choices[0].message.content == first
    others = {chat(client, temperature=1.0, seed=seed).choices[0].message.content for seed in range(8, 13)}
    assert others != {first}


def test_prompt_logprobs_are_what_echo_tells(server):
    body = {"prompt": "Once upon a time", "max_tokens": 3, "temperature": 0, "return_token_ids": True}
    told = json.loads(server.post("/v1/completions", body | {"prompt_logprobs": 2})[1])["choices"][0]
    echo = json.loads(server.post("/v1/completions", body | {"echo": True, "logprobs": 1})[1])["choices"][0]
    ids, of_prompt = told["prompt_token_ids"], told["prompt_logprobs"]
    assert len(of_prompt) == len(ids) and of_prompt[0] is None and told["text"] == echo["text"][len("Once upon a time"):]
    for at in range(1, len(ids)):
        own = of_prompt[at][str(ids[at])]
        assert own["logprob"] == echo["logprobs"]["token_logprobs"][at] and own["decoded_token"] == echo["logprobs"]["tokens"][at]
        ranks = {entry["rank"] for entry in of_prompt[at].values()}
        assert {1, 2} <= ranks and len(of_prompt[at]) == (2 if own["rank"] <= 2 else 3)
        assert max(of_prompt[at].values(), key=lambda entry: entry["logprob"])["rank"] == 1
        assert len(echo["logprobs"]["top_logprobs"][at]) <= 2
    chat_told = json.loads(server.post("/v1/chat/completions", {"messages": STORY, "max_tokens": 2, "prompt_logprobs": 0})[1])
    assert chat_told["prompt_logprobs"][0] is None and len(chat_told["prompt_logprobs"]) == chat_told["usage"]["prompt_tokens"]


def test_tokens_named_by_id(server):
    body = {"prompt": "Once upon a time", "max_tokens": 4, "temperature": 0, "logprobs": 2, "return_token_ids": True}
    named = json.loads(server.post("/v1/completions", body | {"return_tokens_as_token_ids": True})[1])["choices"][0]
    plain = json.loads(server.post("/v1/completions", body)[1])["choices"][0]
    assert named["logprobs"]["tokens"] == [f"token_id:{token}" for token in named["token_ids"]]
    assert named["text"] == plain["text"] and named["logprobs"]["token_logprobs"] == plain["logprobs"]["token_logprobs"]
    assert all(top and all(name.startswith("token_id:") for name in top) for top in named["logprobs"]["top_logprobs"])


def test_allowed_and_bad_tokens(client):
    plain = chat(client, extra_body={"return_token_ids": True}).choices[0]
    ids, text = plain.model_extra["token_ids"], plain.message.content
    few = sorted(set(ids[:3]))
    held = chat(client, extra_body={"allowed_token_ids": few, "return_token_ids": True}, max_tokens=12).choices[0]
    assert set(held.model_extra["token_ids"]) <= set(few) and held.finish_reason == "length"
    word = max(text.replace(".", " ").replace(",", " ").split(), key=len)
    without = chat(client, extra_body={"bad_words": [word]}).choices[0].message.content
    assert without != text and f" {word} " not in f" {without} "


def test_prompts_are_cut(server):
    body = {"prompt": list(range(5, 45)), "max_tokens": 2, "temperature": 0, "return_token_ids": True}
    cut = json.loads(server.post("/v1/completions", body | {"truncate_prompt_tokens": 10})[1])
    assert cut["usage"]["prompt_tokens"] == 10 and cut["choices"][0]["prompt_token_ids"] == list(range(35, 45))
    whole = json.loads(server.post("/v1/completions", body | {"prompt": list(range(35, 45))})[1])
    assert whole["choices"][0]["token_ids"] == cut["choices"][0]["token_ids"]


def test_requests_by_name(server):
    body = {"messages": STORY, "max_tokens": 2, "temperature": 0}
    status, text, headers = server.post("/v1/chat/completions", body)
    assert status == 200 and headers["x-request-id"] == json.loads(text)["id"]
    status, text, headers = server.post("/v1/chat/completions", body, headers={"X-Request-Id": "mine-1"})
    assert status == 200 and headers["x-request-id"] == "mine-1" and json.loads(text)["id"] == "chatcmpl-mine-1"
    assert json.loads(server.post("/v1/chat/completions", body | {"request_id": "b.2"})[1])["id"] == "chatcmpl-b.2"
    status, text, headers = server.post("/v1/chat/completions", {"messages": 1}, headers={"X-Request-Id": "mine-3"})
    assert status == 400 and headers["x-request-id"] == "mine-3", "errors bring it back too"
    for bad in ("a b", 'a"b', "x" * 257):
        for field, answer in (("x-request-id", server.post("/v1/chat/completions", body, headers={"X-Request-Id": bad})),
                              ("request_id", server.post("/v1/chat/completions", body | {"request_id": bad}))):
            assert answer[0] == 400 and json.loads(answer[1])["error"]["param"] == field, answer[1]


def test_stop_strings(client):
    text = chat(client).choices[0].message.content
    stop = text[len(text) // 2:][:3]
    for stream in (False, True):
        answer = chat(client, stop=[stop, "never in here"], stream=stream)
        if stream:
            texts, ends, _ = joined(answer)
            got, reason = texts[0], ends[0]
        else:
            got, reason = answer.choices[0].message.content, answer.choices[0].finish_reason
            assert answer.choices[0].model_extra["stop_reason"] == stop
        assert got == text[:text.index(stop)] and reason == "stop"
    kept = chat(client, stop=stop, extra_body={"include_stop_str_in_output": True}).choices[0].message.content
    assert kept == text[:text.index(stop)] + stop


def test_stop_token_ids(client, server):
    ids = chat(client, extra_body={"return_token_ids": True}).choices[0].model_extra["token_ids"]
    answer = chat(client, extra_body={"stop_token_ids": [ids[5]], "return_token_ids": True})
    first = ids.index(ids[5])
    assert answer.choices[0].model_extra["token_ids"] == ids[:first]
    assert answer.choices[0].model_extra["stop_reason"] == ids[5]


def test_max_and_min_tokens(client):
    assert chat(client, max_tokens=3).usage.completion_tokens == 3
    assert chat(client, max_tokens=openai.NOT_GIVEN, max_completion_tokens=4).usage.completion_tokens == 4
    longer = chat(client, max_tokens=60, extra_body={"ignore_eos": True, "min_tokens": 60})
    assert longer.usage.completion_tokens == 60 and longer.choices[0].finish_reason == "length"


def test_completions(client):
    answer = client.completions.create(model="demo", prompt="Once upon a time", max_tokens=10, temperature=0, logprobs=2)
    choice = answer.choices[0]
    assert answer.object == "text_completion" and len(choice.logprobs.tokens) == 10
    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.text_offset[0] == 0 and choice.logprobs.text_offset == sorted(choice.logprobs.text_offset)
    assert all(len(top) in (2, 3) for top in choice.logprobs.top_logprobs)
    default = client.completions.create(model="demo", prompt="Once upon a time", temperature=0,
                                        extra_body={"ignore_eos": True})
    assert default.usage.completion_tokens == 16


def test_completion_prompts(client, server):
    both = client.completions.create(model="demo", prompt=["Once upon", "The fox"], max_tokens=8, temperature=0, n=2)
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
    for i, prompt in enumerate(["Once upon", "The fox"]):
        alone = client.completions.create(model="demo", prompt=prompt, max_tokens=8, temperature=0)
        assert both.choices[2 * i].text == both.choices[2 * i + 1].text == alone.choices[0].text
        ids = json.loads(server.post("/tokenize", {"prompt": prompt})[1])["tokens"]
        by_ids = client.completions.create(model="demo", prompt=ids, max_tokens=8, temperature=0)
        assert by_ids.choices[0].text == alone.choices[0].text


def test_echo(client):
    prompt = "Once upon a time"
    options = dict(model="demo", prompt=prompt, max_tokens=6, temperature=0)
    plain = client.completions.create(**options)
    echoed = client.completions.create(**options, echo=True, logprobs=1)
    assert echoed.choices[0].text == prompt + plain.choices[0].text
    logprobs = echoed.choices[0].logprobs
    assert logprobs.token_logprobs[0] is None and logprobs.top_logprobs[0] is None
    assert all(value is not None and value <= 0 for value in logprobs.token_logprobs[1:])
    assert len(logprobs.tokens) == echoed.usage.prompt_tokens + echoed.usage.completion_tokens
    assert "".join(logprobs.tokens) == prompt + plain.choices[0].text
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(**options, echo=True, stream=True))
    assert streamed == prompt + plain.choices[0].text


def test_tokenize_round_trip(server):
    for text in ("Hello, fox!", "naïve café — 狐 🦊", "<|im_start|>user"):
        tokens = json.loads(server.post("/tokenize", {"prompt": text, "add_special_tokens": False})[1])["tokens"]
        assert json.loads(server.post("/detokenize", {"tokens": tokens})[1])["prompt"] == text


def test_bad_model(client):
    with pytest.raises(openai.NotFoundError) as caught:
        chat(client, model="no-such-model")
    assert caught.value.body["param"] == "model" and caught.value.code == "model_not_found"


@pytest.mark.parametrize("field, value", [("temperature", -1), ("top_p", 0), ("n", 0), ("n", 1000), ("max_tokens", 0),
                                          ("max_tokens", 10**9), ("stop", ""), ("seed", "x"), ("logit_bias", {"999999": 1}),
                                          ("tool_choice", "required")])
def test_bad_parameter(client, field, value):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, **{field: value})
    assert caught.value.body["param"] == field, caught.value.body


def test_32_streams_equal_the_same_requests_alone(client, server):
    def ask(i, **options):
        messages = [{"role": "user", "content": f"Tell me a story about {'a fox' if i % 2 else 'the number ' + str(i)}."}]
        return chat(client, messages=messages, temperature=0 if i % 3 == 0 else 1, seed=i, max_tokens=40, **options)

    alone = [ask(i).choices[0].message.content for i in range(32)]
    batched = server.metric("foregate_batched_steps_total")
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        together = list(pool.map(lambda i: joined(ask(i, stream=True))[0][0], range(32)))
    assert together == alone
    assert len(set(alone)) > 16
    assert server.metric("foregate_batched_steps_total") > batched + 10, "the requests did not share their steps"


def test_cancel_mid_stream(client, server):
    server.wait_for(server.idle, "not idle at first")
    gone = server.metric("foregate:http_clients_gone_total")
    aborted = server.metric("vllm:request_success_total", finished_reason="abort")
    stream = chat(client, stream=True, max_tokens=1800, extra_body={"ignore_eos": True})
    for count, _ in enumerate(stream):
        if count == 3:
            break
    assert server.metric("vllm:num_requests_running") == 1
    stream.close()
    server.wait_for(server.idle, "blocks were not freed", 5)
    assert server.metric("foregate:http_clients_gone_total") == gone + 1
    assert server.metric("vllm:request_success_total", finished_reason="abort") == aborted + 1


def test_cancel_of_a_request_that_is_not_streamed(server):
    server.wait_for(server.idle, "not idle at first")
    body = json.dumps({"messages": STORY, "max_tokens": 1800, "ignore_eos": True})
    with server.raw() as connection:
        connection.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        server.wait_for(lambda: server.metric("vllm:num_requests_running") == 1, "did not run")
    before = server.metric("vllm:generation_tokens_total")
    server.wait_for(server.idle, "blocks were not freed", 5)
    assert server.metric("vllm:generation_tokens_total") - before < 500


def test_stop_string_ends_the_engine_work(client, server):
    before = server.metric("vllm:generation_tokens_total")
    text = chat(client, max_tokens=10).choices[0].message.content
    chat(client, max_tokens=1500, stop=text[5:8], extra_body={"ignore_eos": True})
    server.wait_for(server.idle, "the sample went on")
    assert server.metric("vllm:generation_tokens_total") - before < 200


def test_special_tokens_of_a_client_stay_text(server):
    def count(content):
        return json.loads(server.post("/tokenize", {"messages": [{"role": "user", "content": content}]})[1])["count"]

    model = json.loads(server.post("/tokenize", {"messages": STORY})[1])["tokens"]
    special = json.loads(server.post("/detokenize", {"tokens": model[:1]})[1])["prompt"]
    if len(special) < 4:
        pytest.skip("the template does not begin with a special token")
    assert count(special) > count("a") + 1


def test_utf8_in_every_chunk(client):
    stream = chat(client, stream=True, temperature=2.0, seed=1, max_tokens=200, extra_body={"ignore_eos": True})
    text = joined(stream)[0][0]
    assert text.encode().decode() == text
