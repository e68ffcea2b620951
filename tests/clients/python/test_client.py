"""Both clients against the program."""
import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import foregate
import grpc
import pytest
from foregate import AsyncClient, Chat, Client, FinishReason, Form, Message, Sampling

TALE = "Once upon a time"
STORY = [Message("user", "Tell me a story about a fox.")]
ENDLESS = Sampling(max_tokens=1900, ignore_eos=True, temperature=0)


@pytest.fixture
def client(server):
    with Client(server.grpc, timeout=60) as made:
        yield made


def run(server, body):
    """An async test on an event loop of its own."""
    async def whole():
        async with AsyncClient(server.grpc, timeout=60) as made:
            return await body(made)
    return asyncio.run(whole())


async def collected(stream):
    return [delta async for delta in stream]


def test_all_ways_give_the_tokens_of_http(server, client):
    wanted = server.post("/v1/completions", {"prompt": TALE, "max_tokens": 40, "temperature": 0, "return_token_ids": True,
                                             "logprobs": 2})["choices"][0]
    asked = dict(sampling=Sampling(temperature=0, max_tokens=40, logprobs=2))
    deltas = list(client.stream(TALE, **asked))
    replies = [client.generate(TALE, **asked), run(server, lambda c: c.generate(TALE, **asked)),
               foregate._wire.reply(deltas), foregate._wire.reply(run(server, lambda c: collected(c.stream(TALE, **asked))))]
    assert len(deltas) > 10
    for reply in replies:
        assert reply.text == wanted["text"] and list(reply.token_ids) == wanted["token_ids"]
        assert reply.finish.reason is FinishReason.LENGTH and reply.finish.completion_tokens == 40
        chosen = [round(position.chosen.logprob, 4) for position in reply.choices[0].logprobs]
        assert chosen == [round(value, 4) for value in wanted["logprobs"]["token_logprobs"]]
        assert all(len(position.top) == 2 for position in reply.choices[0].logprobs)
    ids = client.tokenize(TALE).ids
    assert replies[0].prompt.prompt_tokens == len(ids)
    assert client.generate(list(ids), **asked).text == wanted["text"]


def test_chats(server, client):
    body = {"messages": [vars(message) for message in STORY], "temperature": 0, "max_tokens": 24}
    for message in body["messages"]:
        del message["name"], message["tool_call_id"]
    wanted = server.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]
    asked = dict(sampling=Sampling(temperature=0, max_tokens=24))
    for prompt in (STORY, body["messages"], Chat(STORY), Chat(body["messages"], add_generation_prompt=True)):
        assert client.generate(prompt, **asked).text == wanted
    tools = [{"type": "function", "function": {"name": "clock"}}]
    assert client.tokenize(Chat(STORY, tools=tools, template_kwargs={"a": 1})).ids
    assert client.tokenize(STORY).ids == run(server, lambda c: c.tokenize(STORY)).ids


def test_choices_stops_and_forms(client):
    reply = client.generate(TALE, sampling=Sampling(n=3, seed=5, temperature=1, max_tokens=9))
    assert [choice.index for choice in reply.choices] == [0, 1, 2] and len({choice.text for choice in reply.choices}) > 1
    whole = client.generate(TALE, sampling=Sampling(temperature=0, max_tokens=30)).text
    word = whole.split()[4]
    stopped = client.generate(TALE, sampling=Sampling(temperature=0, max_tokens=30, stop=[word]))
    assert stopped.finish.reason is FinishReason.STOP and stopped.finish.stop_string == word
    assert stopped.text == whole[:whole.index(word)]
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    sampling = Sampling(max_tokens=60, temperature=1, seed=2)
    assert set(json.loads(client.generate("x", form=Form.json_schema(schema), sampling=sampling).text)) == {"n"}
    assert client.generate("x", form=Form.choice(["yes", "no"]), sampling=sampling).text in ("yes", "no")
    assert client.generate("x", form=Form.regex("[ab]{3}"), sampling=sampling).text.strip("ab") == ""
    assert client.generate("x", form=Form.grammar('root ::= "q"'), sampling=sampling).text == "q"
    biased = client.generate("x", sampling=Sampling(temperature=0, max_tokens=3, logit_bias={7: 100.0}))
    assert biased.token_ids == (7, 7, 7)


def test_what_the_server_says_of_itself(server, client):
    assert client.health() == foregate.Health(True, "ok")
    model = client.model_info()
    assert model.model == "demo" and model.vocab_size > 0 and model.has_chat_template
    info = client.server_info()
    assert info.status == "ok" and info.facts["device"] and info.version == foregate.__version__
    assert client.loads().kv_blocks_total > 0
    tokens = client.tokenize("hello to the sea")
    assert tokens.max_model_len == model.max_model_len and client.detokenize(tokens.ids) == "hello to the sea"

    async def all_of_it(c):
        assert await c.health() == client.health() and await c.model_info() == model
        assert (await c.server_info()).facts == info.facts and (await c.loads()).kv_blocks_total > 0
        assert await c.detokenize((await c.tokenize("to the sea")).ids) == "to the sea"
        assert not await c.abort("nobody")
    run(server, all_of_it)


def cancelled_calls(server):
    return server.metric("foregate:grpc_calls_total", method="Generate", code="CANCELLED")


def test_leaving_a_stream_frees_its_work(server, client):
    before = cancelled_calls(server)
    with client.stream(TALE, sampling=ENDLESS) as stream:
        next(stream)
    server.wait_until_idle()
    stream = client.stream(TALE, sampling=ENDLESS)
    next(stream)
    threading.Timer(0.02, stream.cancel).start()
    with pytest.raises(foregate.CallCancelledError):
        list(stream)
    server.wait_until_idle()
    assert cancelled_calls(server) == before + 2


def test_cancelling_a_task_cancels_the_call(server):
    before = cancelled_calls(server)

    async def leave(client):
        for asked in (client.generate(TALE, sampling=ENDLESS), collected(client.stream(TALE, sampling=ENDLESS))):
            task = asyncio.create_task(asked)
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        stream = client.stream(TALE, sampling=ENDLESS)
        await stream.__anext__()
        asyncio.get_running_loop().call_later(0.02, stream.cancel)
        with pytest.raises(foregate.CallCancelledError):
            await collected(stream)
        async with client.stream(TALE, sampling=ENDLESS) as stream:
            await stream.__anext__()
    run(server, leave)
    server.wait_until_idle()
    assert cancelled_calls(server) == before + 4


def test_abort_by_id(server, client):
    stream = client.stream(TALE, sampling=ENDLESS, request_id="mine")
    assert next(stream).request_id == "mine"
    with pytest.raises(foregate.AlreadyExistsError):
        client.generate(TALE, request_id="mine")
    assert client.abort("mine")
    with pytest.raises(foregate.CallCancelledError):
        list(stream)
    assert not client.abort("mine")


def test_timeouts_are_deadlines(server, client):
    began = time.monotonic()
    for call in (lambda: client.generate(TALE, sampling=ENDLESS, timeout=0.02),
                 lambda: list(client.stream(TALE, sampling=ENDLESS, timeout=0.02)),
                 lambda: run(server, lambda c: c.generate(TALE, sampling=ENDLESS, timeout=0.02))):
        with pytest.raises(foregate.DeadlineExceededError) as caught:
            call()
        assert isinstance(caught.value, TimeoutError)
    assert time.monotonic() - began < 5
    server.wait_until_idle()


def test_errors_name_the_field(server, client):
    for sampling, field in ((Sampling(temperature=-1), "temperature"), (Sampling(n=0), "n"), (Sampling(max_tokens=0), "max_tokens")):
        with pytest.raises(foregate.InvalidArgumentError) as caught:
            client.generate(TALE, sampling=sampling)
        assert caught.value.field == field and caught.value.retry_after is None
        with pytest.raises(foregate.InvalidArgumentError) as caught:
            run(server, lambda c: collected(c.stream(TALE, sampling=sampling)))
        assert caught.value.field == field
    with pytest.raises(foregate.NotFoundError):
        client.generate(TALE, model="other")
    with pytest.raises(foregate.InvalidArgumentError) as caught:
        client.detokenize([-1])
    assert caught.value.field == "token_ids" and caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(TypeError):
        client.tokenize([1, 2])


def test_keys(start):
    guarded = start("--api-key", "secret")
    with Client(guarded.grpc) as without, Client(guarded.grpc, api_key="secret") as keyed:
        assert without.health().healthy
        with pytest.raises(foregate.UnauthenticatedError):
            without.loads()
        assert keyed.loads().running == 0
        assert keyed.generate(TALE, sampling=Sampling(max_tokens=2, ignore_eos=True)).finish.completion_tokens == 2
    run_keyed = asyncio.run(_keyed(guarded.grpc))
    assert run_keyed.status == "ok"


async def _keyed(target):
    async with AsyncClient(target, api_key="secret") as client:
        return await client.server_info()


def test_a_full_server_is_asked_again_until_it_has_room(start):
    server = start("--max-num-seqs", "1", "--max-num-queued-reqs", "7")
    few = Sampling(max_tokens=2, ignore_eos=True)
    with Client(server.grpc, timeout=60) as client:
        full = client.stream(TALE, sampling=Sampling(n=8, max_tokens=1000, ignore_eos=True))  # every place there is
        next(full)
        with Client(server.grpc, retry=foregate.NO_RETRY) as impatient:
            with pytest.raises(foregate.ResourceExhaustedError) as refused:
                impatient.generate(TALE, sampling=few)
        assert 1 <= refused.value.retry_after <= 3
        threading.Timer(0.2, full.cancel).start()
        began = time.monotonic()
        assert client.generate(TALE, sampling=few).finish.completion_tokens == 2
        assert time.monotonic() - began >= 0.9  # as long as it was told to wait


@pytest.mark.parametrize("name", ["chat.py", "many.py"])
def test_examples(server, name):
    path = Path(os.environ["FOREGATE_EXAMPLES"]) / name
    done = subprocess.run([sys.executable, path, server.grpc], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and len(done.stdout) > 20, done.stdout + done.stderr
    if name == "many.py":
        assert all(line.endswith((": yes", ": no")) for line in done.stdout.splitlines())


def test_the_package_is_whole():
    folder = Path(foregate.__file__).parent
    assert "site-packages" in str(folder) and (folder / "py.typed").exists()
    for name in ("inference_pb2.py", "inference_pb2.pyi", "inference_pb2_grpc.py"):
        assert (folder / "v1" / name).exists()
    assert all(hasattr(foregate, name) for name in foregate.__all__)
