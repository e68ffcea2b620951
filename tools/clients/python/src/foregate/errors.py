"""Errors of calls: one class for each status that a client can do something about."""
from __future__ import annotations

from typing import Any, Optional

import grpc

from .retry import hint_of


class ForegateError(Exception):
    """`code` is the status of gRPC; `field` the name of the field at fault, as the server has it, "" when none is;
    `retry_after` the seconds after which the server says that trying again may help, None when it does not say."""

    def __init__(self, code: grpc.StatusCode, message: str, field: str = "", retry_after: Optional[float] = None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class InvalidArgumentError(ForegateError):
    """The request is wrong; `field` says where."""


class UnimplementedError(ForegateError):
    """The server knows what is asked and does not do it."""


class NotFoundError(ForegateError):
    """The model is not served."""


class AlreadyExistsError(ForegateError):
    """A call with this request_id still runs."""


class UnauthenticatedError(ForegateError):
    """The API key is missing or wrong."""


class ResourceExhaustedError(ForegateError):
    """The server, or this client's share of it, is full."""


class UnavailableError(ForegateError):
    """Nobody listens there, or the server loads its model or drains."""


class DeadlineExceededError(ForegateError, TimeoutError):
    """The timeout of the call has passed."""


class CallCancelledError(ForegateError):
    """The call was cancelled or aborted."""


_CLASSES = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.CANCELLED: CallCancelledError,
}


def error_of(error: Any) -> ForegateError:
    """What a grpc.RpcError of a call says."""
    words = metadata_words(error)
    hint = hint_of(words)
    kind = _CLASSES.get(error.code(), ForegateError)
    return kind(error.code(), error.details() or "", words.get("foregate-field", ""),
                hint if hint is not None and hint >= 0 else None)


def metadata_words(error: Any) -> dict[str, str]:
    """The trailing metadata of a grpc.RpcError, by key."""
    return {key: value.decode(errors="replace") if isinstance(value, bytes) else value
            for key, value in error.trailing_metadata() or ()}
