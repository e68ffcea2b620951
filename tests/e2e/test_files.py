"""/v1/files and /v1/batches through the official client: whole runs, cancels, a kill in the middle, owners."""
import json
import os
import re
import signal
import subprocess
import time

import openai
import pytest

ENDPOINT = "/v1/completions"


def lines(count, most_tokens=12):
    return "".join(json.dumps({"custom_id": f"id-{number}", "method": "POST", "url": ENDPOINT,
                               "body": {"prompt": f"Once upon a time, {number} foxes", "max_tokens": most_tokens,
                                        "temperature": number % 2, "ignore_eos": True}}) + "\n" for number in range(count))


def begin(client, text):
    file = client.files.create(file=("in.jsonl", text.encode()), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h",
                                 metadata={"made": "by a test"})


def wait(client, batch, *statuses, seconds=60):
    until = time.monotonic() + seconds
    while (now := client.batches.retrieve(batch.id)).status not in statuses:
        assert time.monotonic() < until, now
        time.sleep(0.02)
    return now


@pytest.fixture
def kept(start, tmp_path):
    return start("--files-dir", str(tmp_path / "kept"), "--batch-concurrency", "4")


def test_a_batch_from_upload_to_answers(kept, tmp_path):
    client = kept.client()
    text = lines(30) + json.dumps({"custom_id": "hot", "method": "POST", "url": ENDPOINT, "body": {"prompt": "a", "temperature": -1}})
    done = wait(client, begin(client, text), "completed")
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (31, 30, 1)
    assert done.metadata == {"made": "by a test"} and done.completed_at >= done.created_at
    answers = [json.loads(line) for line in client.files.content(done.output_file_id).text.splitlines()]
    assert [answer["custom_id"] for answer in answers] == [f"id-{number}" for number in range(30)]
    assert all(answer["response"]["body"]["usage"]["completion_tokens"] == 12 for answer in answers)
    errors = [json.loads(line) for line in client.files.content(done.error_file_id).text.splitlines()]
    assert [(error["custom_id"], error["response"]["status_code"]) for error in errors] == [("hot", 400)]
    assert {file.purpose for file in client.files.list()} == {"batch", "batch_output"}
    assert [batch.id for batch in client.batches.list()] == [done.id]
    assert client.files.delete(done.input_file_id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(done.input_file_id)
    # The same lines by the program's own command: one runner, the same bytes.
    (tmp_path / "in.jsonl").write_text(lines(30))
    subprocess.run([os.environ["FOREGATE_E2E_BINARY"], "batch", os.environ["FOREGATE_E2E_MODEL"], "--served-model-name", "demo",
                    "-i", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl"], check=True, capture_output=True, timeout=120)
    by_command = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for one in answers + by_command:
        one["response"]["body"].pop("created")
        one["response"]["body"]["usage"].pop("prompt_tokens_details", None)
    assert answers == by_command


def test_faults_of_a_file_are_listed_with_their_lines(kept):
    client = kept.client()
    failed = wait(client, begin(client, lines(2) + "no json\n" + lines(1)), "failed")
    assert [(fault.code, fault.line) for fault in failed.errors.data] == [("invalid_request", 3), ("duplicate_custom_id", 4)]
    for wrong in (dict(purpose="fine-tune"), dict(file=("empty", b""))):
        with pytest.raises(openai.BadRequestError):
            client.files.create(**(dict(file=("x", b"{}"), purpose="batch") | wrong))


def test_cancel_while_chats_go_on(kept):
    client = kept.client()
    batch = begin(client, lines(400, 200))
    wait(client, batch, "in_progress")
    while client.batches.retrieve(batch.id).request_counts.completed < 3:
        time.sleep(0.02)
    began = time.monotonic()
    client.completions.create(model="demo", prompt="A chat beside it", max_tokens=4)
    assert time.monotonic() - began < 10
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    done = wait(client, batch, "cancelled")
    assert 3 <= done.request_counts.completed < 400
    assert len(client.files.content(done.output_file_id).text.splitlines()) == done.request_counts.completed
    assert kept.metric("foregate_batches_ended_total", status="cancelled") == 1


def answers(client, batch):
    """The text of a batch's answers without what differs from run to run: its id and when it was computed."""
    text = client.files.content(batch.output_file_id).text.replace(batch.id, "")
    return re.sub(r'"created":\d+', '"created":0', text)


def test_killed_and_drained_servers_go_on_with_their_batches(start, tmp_path):
    flags = ("--files-dir", str(tmp_path / "kept"), "--batch-concurrency", "4")
    server = start(*flags)
    text = lines(60, 60)
    whole = wait(server.client(), begin(server.client(), text), "completed")
    wanted = answers(server.client(), whole)
    for stop in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        batch = begin(server.client(), text)
        wait(server.client(), batch, "in_progress")
        while server.client().batches.retrieve(batch.id).request_counts.completed < 5:
            time.sleep(0.01)
        server.process.send_signal(stop)
        code = server.process.wait(20)
        assert stop == signal.SIGKILL or code == 0
        server = start(*flags)
        done = wait(server.client(), batch, "completed")
        assert done.request_counts.completed == 60
        assert answers(server.client(), done) == wanted


def test_without_a_folder_there_are_no_files(server):
    status, body, _ = server.get("/v1/files")
    assert status == 404 and "--files-dir" in body
    assert "/v1/files" not in json.loads(server.get("/openapi.json")[1])["paths"]
