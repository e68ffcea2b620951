"""Answers held to a form, through the official client."""
import json
import re

import openai
import pytest

from test_api import chat, joined

PERSON = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
          "required": ["name", "age"], "additionalProperties": False}


def test_output_forms(client, server):
    masks = server.metric("foregate_grammar_masks_computed_total")
    for seed in range(6):
        formed = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
        answer = chat(client, response_format=formed, temperature=1, seed=seed, max_tokens=300)
        person = json.loads(answer.choices[0].message.content)
        assert answer.choices[0].finish_reason == "stop"
        assert list(person) == ["name", "age"] and len(person["name"]) <= 12 and 0 <= person["age"] <= 99
        streamed = chat(client, response_format=formed, temperature=1, seed=seed, max_tokens=300, stream=True)
        assert joined(streamed)[0][0] == answer.choices[0].message.content
    said = chat(client, extra_body={"structured_outputs": {"choice": ["yes", "no"]}}, temperature=1, n=4)
    assert all(choice.message.content in ("yes", "no") for choice in said.choices)
    said = chat(client, extra_body={"guided_regex": "[0-9]{3}-[0-9]{4}"}, temperature=1)
    assert re.fullmatch("[0-9]{3}-[0-9]{4}", said.choices[0].message.content)
    said = chat(client, extra_body={"grammar": 'root ::= "(" inner ")"\ninner ::= ("ab" | "c"){2}'}, temperature=1)
    assert said.choices[0].message.content in ("(abab)", "(abc)", "(cab)", "(cc)")
    assert server.metric("foregate_grammar_masks_computed_total") > masks
    assert server.metric("foregate_grammar_cache_hits_total") > 0
    plain = chat(client, temperature=0, max_tokens=20).choices[0].message.content
    assert chat(client, temperature=0, max_tokens=20, response_format={"type": "text"}).choices[0].message.content == plain


@pytest.mark.parametrize("fields, param", [({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}},
                                            "response_format.json_schema.schema"),
                                           ({"guided_regex": "(a"}, "guided_regex"), ({"grammar": "root ::= root"}, "grammar"),
                                           ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs.structural_tag")])
def test_bad_form(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, extra_body=fields)
    assert caught.value.body["param"] == param, caught.value.body
