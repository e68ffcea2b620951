"""The client for programs without an event loop. Thread-safe; streams are not."""
from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Callable, Iterator, Optional, Sequence, Type, TypeVar, Union

import grpc

from . import _wire
from ._connection import DEFAULT_TARGET, Attempts, Connection, cancelled
from .errors import error_of
from .retry import RetryPolicy
from .types import Chat, Delta, Form, Health, Loads, ModelInfo, Prompt, Reply, Sampling, ServerInfo, Tokens
from .v1 import inference_pb2 as pb
from .v1 import inference_pb2_grpc as rpc

Answer = TypeVar("Answer")


class Stream:
    """The deltas of a call as they come. Leaving the `with` block, close() and cancel() end what has not ended; the server then
    frees its work. cancel() may be called by another thread."""

    def __init__(self, start: Callable[[Optional[float]], Any], attempts: Attempts):
        self._start, self._attempts = start, attempts
        self._begun = False
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._call = start(attempts.left())

    def __iter__(self) -> Iterator[Delta]:
        return self

    def __next__(self) -> Delta:
        while True:
            try:
                message = next(self._call)
                self._begun = True
                return _wire.delta(message)
            except grpc.RpcError as error:
                self._again(error)

    def _again(self, error: grpc.RpcError) -> None:
        if self._stopped.is_set():
            raise cancelled() from None
        if self._begun:
            raise error_of(error) from None
        self._stopped.wait(self._attempts.pause(error))
        with self._lock:
            if self._stopped.is_set():
                raise cancelled()
            self._call = self._start(self._attempts.left())

    def cancel(self) -> None:
        with self._lock:
            self._stopped.set()
            self._call.cancel()

    close = cancel

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.cancel()


class Client:
    """Calls of one server. `timeout`, of the client or of a call, bounds a call with all of its attempts, in seconds; None: as
    long as it takes. `credentials` None: without TLS."""

    def __init__(self, target: str = DEFAULT_TARGET, *, api_key: Optional[str] = None,
                 credentials: Optional[grpc.ChannelCredentials] = None, timeout: Optional[float] = None,
                 retry: RetryPolicy = RetryPolicy(), max_message_bytes: int = 64 << 20):
        self._connection = Connection(target, api_key, credentials, timeout, retry, max_message_bytes)
        options = self._connection.options()
        self._channel = (grpc.secure_channel(target, credentials, options) if credentials
                         else grpc.insecure_channel(target, options))
        self._stub = rpc.InferenceStub(self._channel)

    def close(self) -> None:
        """Ends calls that are open."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def stream(self, prompt: Prompt, *, sampling: Optional[Sampling] = None, form: Optional[Form] = None, model: str = "",
               request_id: str = "", priority: int = 0, cache_salt: str = "", add_special_tokens: Optional[bool] = None,
               timeout: Optional[float] = None) -> Stream:
        """Text as it is generated. Errors are raised where deltas are read."""
        return self._generate(_wire.generate_request(prompt, True, sampling, form, model, request_id, priority, cache_salt,
                                                     add_special_tokens), timeout)

    def generate(self, prompt: Prompt, *, sampling: Optional[Sampling] = None, form: Optional[Form] = None, model: str = "",
                 request_id: str = "", priority: int = 0, cache_salt: str = "", add_special_tokens: Optional[bool] = None,
                 timeout: Optional[float] = None) -> Reply:
        """The whole answer."""
        with self._generate(_wire.generate_request(prompt, False, sampling, form, model, request_id, priority, cache_salt,
                                                   add_special_tokens), timeout) as stream:
            return _wire.reply(stream)

    def tokenize(self, prompt: Union[str, Chat, Sequence[Any]], *, add_special_tokens: Optional[bool] = None,
                 timeout: Optional[float] = None) -> Tokens:
        return _wire.tokens(self._unary(self._stub.Tokenize, _wire.tokenize_request(prompt, add_special_tokens), timeout))

    def detokenize(self, token_ids: Sequence[int], *, timeout: Optional[float] = None) -> str:
        return self._unary(self._stub.Detokenize, pb.DetokenizeRequest(token_ids=token_ids), timeout).text

    def abort(self, request_id: str, *, timeout: Optional[float] = None) -> bool:
        """Ends a running call by the request_id it was given; False: none has it."""
        return self._unary(self._stub.Abort, pb.AbortRequest(request_id=request_id), timeout).found

    def health(self, *, timeout: Optional[float] = None) -> Health:
        return _wire.health(self._unary(self._stub.HealthCheck, pb.HealthCheckRequest(), timeout))

    def model_info(self, *, timeout: Optional[float] = None) -> ModelInfo:
        return _wire.model_info(self._unary(self._stub.GetModelInfo, pb.GetModelInfoRequest(), timeout))

    def server_info(self, *, timeout: Optional[float] = None) -> ServerInfo:
        return _wire.server_info(self._unary(self._stub.GetServerInfo, pb.GetServerInfoRequest(), timeout))

    def loads(self, *, timeout: Optional[float] = None) -> Loads:
        return _wire.loads(self._unary(self._stub.GetLoads, pb.GetLoadsRequest(), timeout))

    def _attempts(self, timeout: Optional[float]) -> Attempts:
        return Attempts(self._connection.retry, self._connection.timeout if timeout is None else timeout)

    def _generate(self, request: pb.GenerateRequest, timeout: Optional[float]) -> Stream:
        metadata = self._connection.metadata()
        return Stream(lambda left: self._stub.Generate(request, timeout=left, metadata=metadata), self._attempts(timeout))

    def _unary(self, method: Callable[..., Answer], request: Any, timeout: Optional[float]) -> Answer:
        attempts, wait = self._attempts(timeout), threading.Event()
        while True:
            try:
                return method(request, timeout=attempts.left(), metadata=self._connection.metadata())
            except grpc.RpcError as error:
                wait.wait(attempts.pause(error))
