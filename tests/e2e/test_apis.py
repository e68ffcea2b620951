"""/v1/responses and /v1/messages through the official clients, and what else stands around a chat."""
import json

import anthropic
import openai
import pytest

from conftest import STORY
from test_api import chat
from test_tools import CLOCK, NAMED, WEATHER

FLAT = {"type": "function", "name": "get_weather", "parameters": WEATHER["function"]["parameters"], "strict": False}
TOOL = {"name": "get_weather", "input_schema": WEATHER["function"]["parameters"]}
SHAPE = {"type": "object", "properties": {"yes": {"type": "boolean"}}, "required": ["yes"], "additionalProperties": False}


@pytest.fixture
def messages(server):
    return anthropic.Anthropic(base_url=f"http://127.0.0.1:{server.port}", api_key="none", max_retries=0, timeout=60).messages


def respond(client, **fields):
    return client.responses.create(**{"model": "demo", "input": STORY, "temperature": 0, "max_output_tokens": 24} | fields)


GREEDY = {"extra_body": {"temperature": 0}}


def ask(api, **fields):
    return api.create(**{"model": "demo", "messages": STORY, "max_tokens": 24} | GREEDY | fields)


def test_responses(client):
    plain = chat(client)
    answer = respond(client)
    assert answer.output_text == plain.choices[0].message.content
    assert answer.status == "incomplete" and answer.incomplete_details.reason == "max_output_tokens"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (plain.usage.prompt_tokens, plain.usage.completion_tokens)
    assert respond(client, input=STORY[0]["content"]).output_text == answer.output_text
    formed = respond(client, text={"format": {"type": "json_schema", "name": "x", "schema": SHAPE}}, max_output_tokens=60)
    assert formed.status == "completed" and set(json.loads(formed.output_text)) == {"yes"}
    talk = respond(client, instructions="Be short.", input=[*STORY, {"role": "assistant", "content": "No."}, {"role": "user", "content": "Why?"}])
    same = chat(client, messages=[{"role": "system", "content": "Be short."}, *STORY, {"role": "assistant", "content": "No."},
                                  {"role": "user", "content": "Why?"}])
    assert talk.output_text == same.choices[0].message.content


def test_responses_stream(client):
    events = list(respond(client, stream=True))
    names = [event.type for event in events]
    assert names[:4] == ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
    assert names[-4:] == ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.incomplete"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text == respond(client).output_text
    assert events[-1].response.usage.output_tokens == 24


def test_responses_tools(client):
    fields = dict(tools=[FLAT], tool_choice={"type": "function", "name": "get_weather"}, temperature=1, max_output_tokens=200)
    first = respond(client, extra_body={"seed": 3}, **fields)
    call, = first.output
    assert call.type == "function_call" and call.name == "get_weather" and set(json.loads(call.arguments)) == {"city", "days"}
    events = list(respond(client, extra_body={"seed": 3}, stream=True, **fields))
    assert "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta") == call.arguments
    assert events[-1].type == "response.completed" and events[-1].response.output[0].arguments == call.arguments
    more = respond(client, input=[*STORY, call.model_dump(), {"type": "function_call_output", "call_id": call.call_id, "output": "18 C"}],
                   tools=[FLAT], max_output_tokens=8)
    assert more.output_text


@pytest.mark.parametrize("fields, param", [({"previous_response_id": "resp_1"}, "previous_response_id"), ({"background": True}, "background"),
                                           ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
                                           ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
                                            "input[0].content[0].type"),
                                           ({"tools": [{"type": "web_search"}]}, "tools[0].type"), ({"max_output_tokens": -1}, "max_output_tokens")])
def test_bad_responses(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        respond(client, **fields)
    assert caught.value.body["param"] == param, caught.value.body


def test_messages(client, messages):
    plain = chat(client)
    answer = ask(messages)
    assert [block.text for block in answer.content] == [plain.choices[0].message.content]
    assert answer.stop_reason == "max_tokens" and answer.role == "assistant"
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens == plain.usage.prompt_tokens
    assert answer.usage.output_tokens == plain.usage.completion_tokens
    counted = messages.count_tokens(model="demo", messages=STORY)
    assert counted.input_tokens == plain.usage.prompt_tokens
    with messages.stream(model="demo", messages=STORY, max_tokens=24, **GREEDY) as stream:
        assert "".join(stream.text_stream) == plain.choices[0].message.content
        whole = stream.get_final_message()
    assert whole.stop_reason == "max_tokens" and whole.usage.output_tokens == 24
    word = plain.choices[0].message.content.split()[2]
    stopped = ask(messages, stop_sequences=[word])
    assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == word


def test_messages_tools(client, messages):
    fields = dict(tools=[TOOL], tool_choice={"type": "tool", "name": "get_weather"}, max_tokens=200)
    answer = ask(messages, **fields)
    call, = answer.content
    assert answer.stop_reason == "tool_use" and call.type == "tool_use" and set(call.input) == {"city", "days"}
    same = chat(client, tools=[WEATHER, CLOCK][:1], tool_choice=NAMED, max_tokens=200).choices[0].message.tool_calls[0]
    assert json.loads(same.function.arguments) == call.input
    with messages.stream(model="demo", messages=STORY, **fields, **GREEDY) as stream:
        final = stream.get_final_message()
    assert final.content[0].input == call.input and final.stop_reason == "tool_use"
    talk = [*STORY, {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in answer.content]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "18 C"}, {"type": "text", "text": "So?"}]}]
    assert ask(messages, messages=talk, tools=[TOOL], max_tokens=8).content[0].text
    assert ask(messages, tools=[TOOL], tool_choice={"type": "any", "disable_parallel_tool_use": True}, max_tokens=200).content[0].name == "get_weather"


def test_bad_messages(server, messages):
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(messages, messages=[{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}])
    assert caught.value.body["type"] == "error" and caught.value.body["error"]["type"] == "invalid_request_error"
    assert "messages[0].content[0].type" in caught.value.body["error"]["message"]
    status, body, _ = server.post("/v1/messages", {"messages": STORY})
    assert status == 400 and "max_tokens" in json.loads(body)["error"]["message"]


def test_keys_of_both_kinds(start):
    server = start("--api-key", "secret")
    good = anthropic.Anthropic(base_url=f"http://127.0.0.1:{server.port}", api_key="secret", max_retries=0, timeout=60)
    assert ask(good.messages, max_tokens=2).content
    bad = anthropic.Anthropic(base_url=f"http://127.0.0.1:{server.port}", api_key="other", max_retries=0, timeout=60)
    with pytest.raises(anthropic.AuthenticationError):
        ask(bad.messages)


def test_apply_template(server):
    status, body, _ = server.post("/apply-template", {"messages": STORY})
    prompt = json.loads(body)["prompt"]
    assert status == 200 and prompt.endswith("<|im_start|>assistant\n") and STORY[0]["content"] in prompt
    tokens = json.loads(server.post("/tokenize", {"messages": STORY})[1])["tokens"]
    assert json.loads(server.post("/detokenize", {"tokens": tokens})[1])["prompt"] == prompt
