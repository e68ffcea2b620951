"""Progress of a prompt through the official client, and the list of what is live."""
import json

from conftest import STORY

LONG = [{"role": "user", "content": STORY[-1]["content"] + " It is about a fox and a bear. " * 8}]


def test_progress_of_a_prompt_and_who_is_live(start):
    server = start("--admin-api-key", "boss", "--max-num-batched-tokens", "32")
    client = server.client(api_key="any")

    def stream(**more):
        return client.chat.completions.create(model="demo", messages=LONG, max_tokens=400, temperature=0, stream=True,
                                              extra_body={"ignore_eos": True, **more})

    texts = []
    for more in ({}, {"return_progress": True, "timings_per_token": True, "cache_salt": "another"}):
        told, text, timings, seen = [], "", [], []
        for chunk in stream(**more):
            extra = chunk.model_extra
            told += [extra["prompt_progress"]] if "prompt_progress" in extra else []
            timings += [extra["timings"]["predicted_n"]] if "timings" in extra else []
            text += chunk.choices[0].delta.content or ""
            if more and not seen and len(timings) > 20:
                status, body = server.get("/slots?prompt=true", {"Authorization": "Bearer boss"})[:2]
                seen = json.loads(body)
                assert status == 200
        texts.append(text)
        if not more:
            assert told == [] and len(timings) == 1
            continue
        total = told[0]["total"]
        assert [one["processed"] for one in told] == list(range(32, total, 32)) + [total] and len(told) > 2
        assert {(one["total"], one["cache"]) for one in told} == {(total, 0)}
        assert timings == sorted(timings) and len(timings) > 100 and timings[-1] == 400
        assert len(seen) == 1 and seen[0]["state"] == "decode" and seen[0]["prompt_tokens"] == total
        assert seen[0]["params"]["max_tokens"] == 400 and "It is about a fox" in seen[0]["prompt"]
        assert seen[0]["generated_tokens"] >= 20 and seen[0]["computed_tokens"] >= total
    assert texts[0] == texts[1], "what is told on the way changes no token"
    assert server.get("/slots", {"Authorization": "Bearer any"})[0] == 401
    assert json.loads(server.get("/slots", {"Authorization": "Bearer boss"})[1]) == []
