"""When a call that was refused is tried again. Only before its first message has come: what has begun is never begun anew."""
from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Mapping, Optional

import grpc


def hint_of(words: Mapping[str, str]) -> Optional[float]:
    """Seconds that trailing metadata asks a client to wait: "grpc-retry-pushback-ms" of Foregate (gRFC A6), or "retry-after" of
    proxies. Negative: do not try again, as A6 has it for what is no number too. None: nothing is said."""
    pushback, after = words.get("grpc-retry-pushback-ms"), words.get("retry-after", "")
    if pushback is not None:
        return int(pushback) / 1000 if pushback.lstrip("-").isdecimal() else -1.0
    return float(after) if after.isdecimal() else None


@dataclass(frozen=True)
class RetryPolicy:
    """Calls that end with UNAVAILABLE, or with RESOURCE_EXHAUSTED and a hint, are tried again: after the time that the server
    asks for, else after `first_wait` seconds, doubled each time, up to half of it less at random."""
    attempts: int = 4           # in all; 1: none is tried again
    first_wait: float = 0.5
    longest_wait: float = 30.0  # who asks for more is not asked again

    def wait(self, made: int, code: grpc.StatusCode, words: Mapping[str, str]) -> Optional[float]:
        """Seconds before the next attempt when `made` have failed, the last one like this; None: give up."""
        hint = hint_of(words)
        again = code is grpc.StatusCode.UNAVAILABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and hint is not None)
        if not again or made >= self.attempts:
            return None
        if hint is None:
            return min(self.longest_wait, self.first_wait * 2 ** (made - 1)) * (1 - random.random() / 2)
        return hint if 0 <= hint <= self.longest_wait else None


NO_RETRY = RetryPolicy(attempts=1)
