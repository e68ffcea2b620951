"""The client for programs with an event loop (asyncio). Cancelling the task that waits for a call cancels the call."""
from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator, Callable, Optional, Sequence, Union

import grpc
import grpc.aio

from . import _wire
from ._connection import DEFAULT_TARGET, Attempts, Connection, cancelled
from .errors import error_of
from .retry import RetryPolicy
from .types import Chat, Delta, Form, Health, Loads, ModelInfo, Prompt, Reply, Sampling, ServerInfo, Tokens
from .v1 import inference_pb2 as pb
from .v1 import inference_pb2_grpc as rpc


class AsyncStream:
    """The deltas of a call as they come. Leaving the `async with` block and cancel() end what has not ended; the server then
    frees its work."""

    def __init__(self, start: Callable[[Optional[float]], Any], attempts: Attempts):
        self._start, self._attempts = start, attempts
        self._begun = False
        self._stopped = False
        self._call = start(attempts.left())

    def __aiter__(self) -> AsyncIterator[Delta]:
        return self

    async def __anext__(self) -> Delta:
        while True:
            try:
                message = await self._call.read()
                if message is grpc.aio.EOF:
                    raise StopAsyncIteration
                self._begun = True
                return _wire.delta(message)
            except grpc.RpcError as error:
                await self._again(error)
            except asyncio.CancelledError:
                if self._stopped:
                    raise cancelled() from None  # of this call, not of the task
                self._call.cancel()
                raise

    async def _again(self, error: grpc.RpcError) -> None:
        if self._stopped:
            raise cancelled() from None
        if self._begun:
            raise error_of(error) from None
        await asyncio.sleep(self._attempts.pause(error))
        if self._stopped:
            raise cancelled() from None
        self._call = self._start(self._attempts.left())

    def cancel(self) -> None:
        self._stopped = True
        self._call.cancel()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.cancel()


class AsyncClient:
    """As Client; made and used on one event loop."""

    def __init__(self, target: str = DEFAULT_TARGET, *, api_key: Optional[str] = None,
                 credentials: Optional[grpc.ChannelCredentials] = None, timeout: Optional[float] = None,
                 retry: RetryPolicy = RetryPolicy(), max_message_bytes: int = 64 << 20):
        self._connection = Connection(target, api_key, credentials, timeout, retry, max_message_bytes)
        options = self._connection.options()
        self._channel = (grpc.aio.secure_channel(target, credentials, options) if credentials
                         else grpc.aio.insecure_channel(target, options))
        self._stub: Any = rpc.InferenceStub(self._channel)  # generated types know the other kind of channel only

    async def close(self) -> None:
        """Ends calls that are open."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    def stream(self, prompt: Prompt, *, sampling: Optional[Sampling] = None, form: Optional[Form] = None, model: str = "",
               request_id: str = "", priority: int = 0, cache_salt: str = "", add_special_tokens: Optional[bool] = None,
               timeout: Optional[float] = None) -> AsyncStream:
        """Text as it is generated. Errors are raised where deltas are read."""
        return self._generate(_wire.generate_request(prompt, True, sampling, form, model, request_id, priority, cache_salt,
                                                     add_special_tokens), timeout)

    async def generate(self, prompt: Prompt, *, sampling: Optional[Sampling] = None, form: Optional[Form] = None, model: str = "",
                       request_id: str = "", priority: int = 0, cache_salt: str = "",
                       add_special_tokens: Optional[bool] = None, timeout: Optional[float] = None) -> Reply:
        """The whole answer."""
        async with self._generate(_wire.generate_request(prompt, False, sampling, form, model, request_id, priority, cache_salt,
                                                         add_special_tokens), timeout) as stream:
            return _wire.reply([delta async for delta in stream])

    async def tokenize(self, prompt: Union[str, Chat, Sequence[Any]], *, add_special_tokens: Optional[bool] = None,
                       timeout: Optional[float] = None) -> Tokens:
        return _wire.tokens(await self._unary(self._stub.Tokenize, _wire.tokenize_request(prompt, add_special_tokens), timeout))

    async def detokenize(self, token_ids: Sequence[int], *, timeout: Optional[float] = None) -> str:
        return (await self._unary(self._stub.Detokenize, pb.DetokenizeRequest(token_ids=token_ids), timeout)).text

    async def abort(self, request_id: str, *, timeout: Optional[float] = None) -> bool:
        """Ends a running call by the request_id it was given; False: none has it."""
        return (await self._unary(self._stub.Abort, pb.AbortRequest(request_id=request_id), timeout)).found

    async def health(self, *, timeout: Optional[float] = None) -> Health:
        return _wire.health(await self._unary(self._stub.HealthCheck, pb.HealthCheckRequest(), timeout))

    async def model_info(self, *, timeout: Optional[float] = None) -> ModelInfo:
        return _wire.model_info(await self._unary(self._stub.GetModelInfo, pb.GetModelInfoRequest(), timeout))

    async def server_info(self, *, timeout: Optional[float] = None) -> ServerInfo:
        return _wire.server_info(await self._unary(self._stub.GetServerInfo, pb.GetServerInfoRequest(), timeout))

    async def loads(self, *, timeout: Optional[float] = None) -> Loads:
        return _wire.loads(await self._unary(self._stub.GetLoads, pb.GetLoadsRequest(), timeout))

    def _attempts(self, timeout: Optional[float]) -> Attempts:
        return Attempts(self._connection.retry, self._connection.timeout if timeout is None else timeout)

    def _generate(self, request: pb.GenerateRequest, timeout: Optional[float]) -> AsyncStream:
        metadata = self._connection.metadata()
        return AsyncStream(lambda left: self._stub.Generate(request, timeout=left, metadata=metadata), self._attempts(timeout))

    async def _unary(self, method: Callable[..., Any], request: Any, timeout: Optional[float]) -> Any:
        attempts = self._attempts(timeout)
        while True:
            try:
                return await method(request, timeout=attempts.left(), metadata=self._connection.metadata())
            except grpc.RpcError as error:
                await asyncio.sleep(attempts.pause(error))
