"""The server that the clients talk to, and a stand-in whose answers a test scripts."""
import os
import sys
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from foregate.v1 import inference_pb2 as pb
from foregate.v1 import inference_pb2_grpc as rpc

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from demo_server import DemoServer  # noqa: E402


@pytest.fixture(scope="session")
def server():
    with DemoServer(os.environ["FOREGATE_BINARY"], os.environ["FOREGATE_MODEL"]) as running:
        yield running


@pytest.fixture
def start():
    """Makes servers with flags of their own, which end with the test."""
    made = []

    def make(*flags):
        made.append(DemoServer(os.environ["FOREGATE_BINARY"], os.environ["FOREGATE_MODEL"], *flags))
        return made[-1]

    yield make
    for one in made:
        one.stop()


class Scripted(rpc.InferenceServicer):
    """Each call takes the next of `refusals`, (code, trailing metadata); calls are good when there is none left."""

    def __init__(self):
        self.refusals, self.calls, self.deadlines, self.keys = [], 0, [], []
        self.break_after = None  # messages before a stream fails

    def _enter(self, context):
        self.calls += 1
        self.deadlines.append(context.time_remaining())
        self.keys.append(dict(context.invocation_metadata()).get("authorization"))
        if self.refusals:
            code, metadata = self.refusals.pop(0)
            context.set_trailing_metadata(metadata)
            context.abort(code, "scripted")

    def Generate(self, request, context):
        self._enter(context)
        for i in range(3):
            if i == self.break_after:
                context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
            yield pb.GenerateResponse(text=f"{i} ", token_ids=[i], finish=pb.Finish(reason=pb.Finish.LENGTH) if i == 2 else None)

    def HealthCheck(self, request, context):
        self._enter(context)
        return pb.HealthCheckResponse(healthy=True, status="ok")


@pytest.fixture
def scripted():
    """A Scripted with its address as `target`."""
    service = Scripted()
    running = grpc.server(futures.ThreadPoolExecutor(4))
    rpc.add_InferenceServicer_to_server(service, running)
    service.target = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
    running.start()
    yield service
    running.stop(None)
