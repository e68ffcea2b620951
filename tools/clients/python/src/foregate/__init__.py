"""Client of the Foregate inference server, over gRPC.

    from foregate import Client, Sampling
    with Client("127.0.0.1:50051") as client:
        for delta in client.stream("Once upon a time", sampling=Sampling(max_tokens=40)):
            print(delta.text, end="", flush=True)
"""
from importlib.metadata import version as _version

from .aio import AsyncClient, AsyncStream
from .client import Client, Stream
from .errors import (AlreadyExistsError, CallCancelledError, DeadlineExceededError, ForegateError, InvalidArgumentError,
                     NotFoundError, ResourceExhaustedError, UnauthenticatedError, UnavailableError, UnimplementedError)
from .retry import NO_RETRY, RetryPolicy
from .types import (Chat, Choice, Delta, Finish, FinishReason, Form, Health, Loads, Message, ModelInfo, PositionLogprobs,
                    PromptInfo, Reply, Sampling, ServerInfo, TokenLogprob, Tokens)

__version__ = _version("foregate")
__all__ = [
    "AlreadyExistsError", "AsyncClient", "AsyncStream", "CallCancelledError", "Chat", "Choice", "Client", "DeadlineExceededError",
    "Delta", "Finish", "FinishReason", "ForegateError", "Form", "Health", "InvalidArgumentError", "Loads", "Message", "ModelInfo",
    "NO_RETRY", "NotFoundError", "PositionLogprobs", "PromptInfo", "Reply", "ResourceExhaustedError", "RetryPolicy", "Sampling",
    "ServerInfo", "Stream", "TokenLogprob", "Tokens", "UnauthenticatedError", "UnavailableError", "UnimplementedError",
    "__version__",
]
