"""The gRPC service as a Python client sees it; its tokens against those of the HTTP API."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from conftest import STORY
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

PROTO = Path(__file__).resolve().parents[2] / "proto"


@pytest.fixture(scope="session")
def wire(tmp_path_factory):
    """(messages, stubs) generated from the .proto file."""
    out = tmp_path_factory.mktemp("proto")
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--python_out={out}",
                    f"--grpc_python_out={out}", "foregate/v1/inference.proto"], check=True)
    sys.path.insert(0, str(out))
    from foregate.v1 import inference_pb2, inference_pb2_grpc
    return inference_pb2, inference_pb2_grpc


def grpc_port(server):
    server.wait_for(lambda: re.search(r"gRPC listens on port (\d+)", "".join(server.log)), "no gRPC port")
    return int(re.search(r"gRPC listens on port (\d+)", "".join(server.log)).group(1))


@pytest.fixture
def channel(start):
    server = start("--grpc-port", "0")
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port(server)}") as channel:
        channel.server = server
        yield channel


def test_greedy_tokens_equal_those_of_http(channel, wire):
    messages, stubs = wire
    stub = stubs.InferenceStub(channel)
    status, body, _ = channel.server.post("/v1/completions", {
        "prompt": "Once upon a time", "max_tokens": 40, "temperature": 0, "return_token_ids": True, "logprobs": 2})
    assert status == 200, body
    wanted = json.loads(body)["choices"][0]
    sampling = messages.SamplingParams(temperature=0, max_tokens=40, logprobs=2)
    for stream in (True, False):
        parts = list(stub.Generate(messages.GenerateRequest(text="Once upon a time", sampling=sampling, stream=stream)))
        assert (len(parts) > 10) == stream
        assert "".join(part.text for part in parts) == wanted["text"]
        assert [token for part in parts for token in part.token_ids] == wanted["token_ids"]
        chosen = [round(one.chosen.logprob, 4) for part in parts for one in part.logprobs]
        assert chosen == [round(value, 4) for value in wanted["logprobs"]["token_logprobs"]]
        assert parts[-1].finish.reason == messages.Finish.LENGTH and parts[-1].finish.completion_tokens == 40


def test_chat_equals_http(channel, wire):
    messages, stubs = wire
    status, body, _ = channel.server.post("/v1/chat/completions", {"messages": STORY, "temperature": 0, "max_tokens": 24})
    assert status == 200, body
    chat = messages.Chat(messages=[messages.ChatMessage(**message) for message in STORY])
    request = messages.GenerateRequest(chat=chat, sampling=messages.SamplingParams(temperature=0, max_tokens=24), stream=True)
    text = "".join(part.text for part in stubs.InferenceStub(channel).Generate(request))
    assert text == json.loads(body)["choices"][0]["message"]["content"]


def test_info_health_loads_and_reflection(channel, wire):
    messages, stubs = wire
    stub = stubs.InferenceStub(channel)
    assert stub.GetModelInfo(messages.GetModelInfoRequest()).vocab_size > 0
    info = stub.GetServerInfo(messages.GetServerInfoRequest())
    assert info.status == "ok" and "cpu" in info.facts["device"]
    assert stub.GetLoads(messages.GetLoadsRequest()).kv_blocks_total > 0
    assert stub.HealthCheck(messages.HealthCheckRequest()).healthy
    serving = health_pb2.HealthCheckResponse.SERVING
    channel.server.wait_for(
        lambda: health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status == serving, "not serving")
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    answer = next(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked])))
    assert "foregate.v1.Inference" in [service.name for service in answer.list_services_response.service]
    tokens = stub.Tokenize(messages.TokenizeRequest(text="hello to the sea")).token_ids
    assert stub.Detokenize(messages.DetokenizeRequest(token_ids=tokens)).text == "hello to the sea"


def test_a_client_that_leaves_frees_its_work(channel, wire):
    messages, stubs = wire
    call = stubs.InferenceStub(channel).Generate(messages.GenerateRequest(
        text="a", sampling=messages.SamplingParams(max_tokens=1000, ignore_eos=True), stream=True))
    next(call)
    call.cancel()
    channel.server.wait_for(channel.server.idle, "work goes on")
    assert channel.server.metric("foregate:grpc_calls_total", method="Generate", code="CANCELLED") == 1


def test_errors_name_the_field(channel, wire):
    messages, stubs = wire
    with pytest.raises(grpc.RpcError) as error:
        list(stubs.InferenceStub(channel).Generate(messages.GenerateRequest(
            text="a", sampling=messages.SamplingParams(temperature=-1))))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert ("foregate-field", "temperature") in error.value.trailing_metadata()


def test_drain_lets_calls_end_and_refuses_new_ones(start, wire):
    messages, stubs = wire
    server = start("--grpc-port", "0", "--shutdown-timeout", "20")
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port(server)}") as channel:
        stub = stubs.InferenceStub(channel)
        call = stub.Generate(messages.GenerateRequest(
            text="a", sampling=messages.SamplingParams(max_tokens=400, ignore_eos=True, temperature=0), stream=True))
        first = next(call)
        server.process.terminate()
        server.wait_for(lambda: "draining" in "".join(server.log), "no drain")
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.Generate(messages.GenerateRequest(text="b", stream=True)))
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        rest = list(call)
        assert len(first.token_ids) + sum(len(part.token_ids) for part in rest) == 400
    assert server.process.wait(20) == 0


def test_taken_port(start):
    server = start("--grpc-port", "0")
    port = str(grpc_port(server))
    done = subprocess.run([os.environ["FOREGATE_E2E_BINARY"], "serve", os.environ["FOREGATE_E2E_MODEL"], "--port", "0",
                           "--grpc-port", port], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and port in done.stderr and "--grpc-port" in done.stderr
    without = start("--no-grpc")
    assert "gRPC" not in "".join(without.log)
