"""Calls of tools and reasoning through the official client. The demo model calls nothing by itself: what it says here
is held to calls, and its replies are read by the forms that flags name."""
import json

import openai
import pytest

from conftest import STORY
from test_api import chat

WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"], "additionalProperties": False}}}
CLOCK = {"type": "function", "function": {"name": "clock"}}
NAMED = {"type": "function", "function": {"name": "get_weather"}}


def check(call):
    arguments = json.loads(call.function.arguments)
    assert call.type == "function" and call.id
    if call.function.name == "clock":
        assert arguments == {}
    else:
        assert call.function.name == "get_weather" and set(arguments) == {"city", "days"}
        assert arguments["city"] in ("Paris", "Rome") and 1 <= arguments["days"] <= 9
    return call.function.name, arguments


def streamed_calls(stream):
    """What the deltas of a stream add up to, as clients add them: by index."""
    calls, finish, content = {}, None, ""
    for chunk in stream:
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            content += choice.delta.content or ""
            for delta in choice.delta.tool_calls or []:
                if delta.index not in calls:
                    assert delta.id and delta.type == "function" and delta.function.name
                    calls[delta.index] = delta
                else:
                    assert delta.id is None and delta.function.name is None
                    calls[delta.index].function.arguments += delta.function.arguments
    return [calls[i] for i in range(len(calls))], finish, content


@pytest.fixture(scope="module", params=[(), ("--tool-call-parser", "hermes")], ids=["plain", "hermes"])
def caller(request):
    from conftest import Server
    running = Server(*request.param)
    yield running
    running.process.kill()
    running.process.wait()


def test_demanded_calls(caller):
    client, before = caller.client(), caller.metric("foregate_tool_calls_total")
    seen = set()
    for seed in range(4):
        asked = dict(tools=[WEATHER, CLOCK], tool_choice="required", parallel_tool_calls=False, temperature=1, seed=seed, max_tokens=200)
        answer = chat(client, **asked).choices[0]
        assert answer.finish_reason == "tool_calls" and answer.message.content is None and len(answer.message.tool_calls) == 1
        seen.add(check(answer.message.tool_calls[0])[0])
        calls, finish, content = streamed_calls(chat(client, stream=True, **asked))
        assert [check(call) for call in calls] == [check(answer.message.tool_calls[0])] and finish == "tool_calls" and not content
    named = chat(client, tools=[CLOCK, WEATHER], tool_choice=NAMED, temperature=1, seed=1, max_tokens=200).choices[0]
    assert [check(call)[0] for call in named.message.tool_calls] == ["get_weather"] and named.finish_reason == "tool_calls"
    assert caller.metric("foregate_tool_calls_total") >= before + 9
    assert seen


def test_a_conversation_with_tools(caller):
    client = caller.client()
    first = chat(client, tools=[WEATHER], tool_choice=NAMED, temperature=0, max_tokens=200).choices[0].message
    messages = STORY + [first.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "18 C"}]
    answer = client.chat.completions.create(model="demo", messages=messages, tools=[WEATHER], temperature=0, max_tokens=8)
    assert answer.choices[0].message.tool_calls is None and answer.choices[0].message.content


def test_tools_that_nobody_calls_change_nothing(caller):
    client = caller.client()
    plain = chat(client, temperature=0, max_tokens=20).choices[0].message
    with_tools = chat(client, temperature=0, max_tokens=20, tools=[WEATHER]).choices[0].message
    assert with_tools.content == plain.content and with_tools.tool_calls is None
    streamed = streamed_calls(chat(client, temperature=0, max_tokens=20, tools=[WEATHER], stream=True))
    assert streamed[0] == [] and streamed[2] == plain.content


def test_calls_beside_a_form(start):
    """Calls or the form, as the model chooses: the first bytes are pushed one way, then the other."""
    server = start("--tool-call-parser", "hermes")
    client = server.client()
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {
        "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}}}
    asked = dict(tools=[WEATHER, CLOCK], response_format=form, temperature=1, max_tokens=200, parallel_tool_calls=False)
    angle, brace = (json.loads(server.post("/tokenize", {"prompt": mark, "add_special_tokens": False})[1])["tokens"][-1] for mark in "<{")
    before = server.metric("foregate_tool_calls_total")
    for seed in range(3):
        called = chat(client, seed=seed, logit_bias={angle: 100}, **asked).choices[0]
        assert called.finish_reason == "tool_calls" and called.message.content is None
        check(called.message.tool_calls[0])
        said = chat(client, seed=seed, logit_bias={angle: -100, brace: 20}, **asked).choices[0]
        assert said.finish_reason == "stop" and said.message.tool_calls is None and set(json.loads(said.message.content)) == {"n"}
        only = chat(client, seed=seed, logit_bias={angle: 100}, tool_choice="none", **asked).choices[0]
        assert only.message.tool_calls is None and set(json.loads(only.message.content)) == {"n"}
    assert server.metric("foregate_tool_calls_total") == before + 3


def test_reasoning(start, tmp_path):
    template = tmp_path / "thinks.jinja"
    template.write_text("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
                        "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}")
    server = start("--chat-template", str(template))
    client = server.client()
    assert json.loads(server.get("/version")[1])["reasoning_parser"] == "qwen3"
    whole = chat(client).choices[0].message
    inside = chat(client, extra_body={"separate_reasoning": False}).choices[0].message
    assert whole.content == "" and whole.reasoning_content.strip() == inside.content.strip() != ""
    deltas = [chunk.choices[0].delta for chunk in chat(client, stream=True) if chunk.choices]
    assert "".join(getattr(d, "reasoning_content", None) or "" for d in deltas) == whole.reasoning_content
    assert not any(d.content for d in deltas)
    assert server.metric("foregate_reasoning_bytes_total") > 0
    straight = chat(client, extra_body={"chat_template_kwargs": {"enable_thinking": False}}).choices[0].message
    assert straight.content and not hasattr(straight, "reasoning_content")
    for budget in (0, 3):
        short = chat(client, extra_body={"thinking_token_budget": budget}).choices[0].message
        assert short.content, "after the budget the answer follows"
        kept = getattr(short, "reasoning_content", None) or ""
        assert whole.reasoning_content.startswith(kept) and len(kept) < len(whole.reasoning_content)
    dropped = chat(client, extra_body={"include_reasoning": False}).choices[0].message
    assert dropped.content == "" and not hasattr(dropped, "reasoning_content")


@pytest.mark.parametrize("fields, param", [({"tool_choice": "required"}, "tool_choice"),
                                           ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"not": {}}}}],
                                             "tool_choice": "required"}, "tools"),
                                           ({"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "x"}}},
                                            "tool_choice.function.name")])
def test_bad_tools(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, **fields)
    assert caught.value.body["param"] == param, caught.value.body
