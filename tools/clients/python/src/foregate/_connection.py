"""What both clients share: how a server is reached, and how long a call with its attempts may take."""
from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Optional

import grpc

from .errors import CallCancelledError, error_of, metadata_words
from .retry import RetryPolicy

DEFAULT_TARGET = "127.0.0.1:50051"


@dataclass(frozen=True)
class Connection:
    target: str
    api_key: Optional[str]
    credentials: Optional[grpc.ChannelCredentials]
    timeout: Optional[float]
    retry: RetryPolicy
    max_message_bytes: int

    def metadata(self) -> Optional[list[tuple[str, str]]]:
        return [("authorization", f"Bearer {self.api_key}")] if self.api_key else None

    def options(self) -> list[tuple[str, Any]]:
        # Attempts are counted here, so that they can be seen and bounded; gRPC makes none of its own.
        return [("grpc.enable_retries", 0), ("grpc.max_receive_message_length", self.max_message_bytes)]


@dataclass
class Attempts:
    """The attempts of one call against its timeout (None: as long as it takes)."""
    retry: RetryPolicy
    timeout: Optional[float]
    made: int = 0
    begun: float = field(default_factory=time.monotonic)

    def left(self) -> Optional[float]:
        """Seconds for the attempt that begins now."""
        self.made += 1
        return None if self.timeout is None else max(0.0, self.timeout - (time.monotonic() - self.begun))

    def pause(self, error: Any) -> float:
        """Seconds to wait after a grpc.RpcError; raises what it says when that is the end."""
        wait = self.retry.wait(self.made, error.code(), metadata_words(error))
        if wait is None or (self.timeout is not None and time.monotonic() + wait - self.begun >= self.timeout):
            raise error_of(error) from None
        return wait


def cancelled() -> CallCancelledError:
    return CallCancelledError(grpc.StatusCode.CANCELLED, "the call was cancelled")
