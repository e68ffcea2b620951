"""Attempts of both clients against a server that refuses as it is told."""
import asyncio
import threading
import time

import foregate
import grpc
import pytest
from foregate import AsyncClient, Client, RetryPolicy
from foregate.retry import hint_of

FULL, DOWN, BAD = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT
SOON = (("grpc-retry-pushback-ms", "60"),)
QUICK = RetryPolicy(first_wait=0.01)


def by_client(call, target, retry=QUICK, **options):
    with Client(target, retry=retry, **options) as client:
        return call(client)


def by_async_client(call, target, retry=QUICK, **options):
    async def body():
        async with AsyncClient(target, retry=retry, **options) as client:
            return await call(client)
    return asyncio.run(body())


async def collected(stream):
    return [delta async for delta in stream]


# (name, how it runs, whole answer, stream read to its end, unary call)
WAYS = [("sync", by_client, lambda c: c.generate("x"), lambda c: list(c.stream("x")), lambda c: c.health()),
        ("async", by_async_client, lambda c: c.generate("x"), lambda c: collected(c.stream("x")), lambda c: c.health())]
ways = pytest.mark.parametrize("run, calls", [(way[1], way[2:]) for way in WAYS], ids=[way[0] for way in WAYS])


@ways
def test_waits_as_long_as_it_is_told(scripted, run, calls):
    for call in calls:
        scripted.refusals, scripted.calls = [(FULL, SOON), (DOWN, SOON)], 0
        began = time.monotonic()
        run(call, scripted.target)
        assert scripted.calls == 3 and time.monotonic() - began >= 0.12


@ways
def test_gives_up_after_its_attempts(scripted, run, calls):
    for call in calls:
        scripted.refusals, scripted.calls = [(DOWN, ())] * 9, 0
        with pytest.raises(foregate.UnavailableError) as caught:
            run(call, scripted.target, RetryPolicy(attempts=3, first_wait=0.01))
        assert scripted.calls == 3 and caught.value.retry_after is None and caught.value.message == "scripted"
        scripted.calls = 0
        with pytest.raises(foregate.UnavailableError):
            run(call, scripted.target, foregate.NO_RETRY)
        assert scripted.calls == 1


@ways
@pytest.mark.parametrize("code, metadata", [(BAD, ()), (BAD, SOON), (FULL, ()), (FULL, (("grpc-retry-pushback-ms", "-1"),)),
                                            (DOWN, (("grpc-retry-pushback-ms", "soon"),)), (DOWN, (("retry-after", "60"),))])
def test_does_not_ask_again_what_it_should_not(scripted, run, calls, code, metadata):
    for call in calls:
        scripted.refusals, scripted.calls = [(code, metadata)], 0
        with pytest.raises(foregate.ForegateError) as caught:
            run(call, scripted.target)
        assert scripted.calls == 1 and caught.value.code is code


@ways
def test_what_has_begun_is_not_begun_anew(scripted, run, calls):
    scripted.break_after = 1
    for call in calls[:2]:
        scripted.calls = 0
        with pytest.raises(foregate.UnavailableError):
            run(call, scripted.target)
        assert scripted.calls == 1


@ways
def test_the_timeout_bounds_all_attempts(scripted, run, calls):
    for call in calls:
        scripted.refusals, scripted.calls, scripted.deadlines = [(FULL, SOON)] * 99, 0, []
        with pytest.raises(foregate.ForegateError) as caught:
            run(call, scripted.target, RetryPolicy(attempts=99), timeout=0.5)
        # The last attempt may meet the deadline itself.
        assert caught.value.code in (FULL, grpc.StatusCode.DEADLINE_EXCEEDED) and 2 < scripted.calls < 10
        assert all(later < sooner - 0.05 for sooner, later in zip(scripted.deadlines, scripted.deadlines[1:]))
        scripted.refusals, scripted.calls = [(FULL, (("grpc-retry-pushback-ms", "9000"),))], 0
        with pytest.raises(foregate.ResourceExhaustedError) as caught:  # at once: there is no time to wait
            run(call, scripted.target, timeout=8)
        assert scripted.calls == 1 and caught.value.retry_after == 9


def test_nobody_there():
    for run, call in ((by_client, lambda c: c.health()), (by_async_client, lambda c: c.generate("x"))):
        with pytest.raises(foregate.UnavailableError):
            run(call, "127.0.0.1:1", RetryPolicy(attempts=2, first_wait=0.01))


def test_cancelled_while_it_waits(scripted):
    scripted.refusals = [(FULL, (("grpc-retry-pushback-ms", "20000"),))]
    began = time.monotonic()
    with Client(scripted.target) as client:
        stream = client.stream("x")
        threading.Timer(0.2, stream.cancel).start()
        with pytest.raises(foregate.CallCancelledError):
            list(stream)
    assert time.monotonic() - began < 5 and scripted.calls == 1


def test_keys_are_sent_with_each_attempt(scripted):
    scripted.refusals = [(DOWN, SOON)]
    by_client(lambda c: c.health(), scripted.target, api_key="k")
    assert scripted.keys == ["Bearer k"] * 2


def test_hints():
    assert hint_of({}) is None and hint_of({"retry-after": "2"}) == 2.0
    assert hint_of({"grpc-retry-pushback-ms": "1500", "retry-after": "9"}) == 1.5
    assert hint_of({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}) is None
    waits = [RetryPolicy(first_wait=1, longest_wait=3).wait(made, DOWN, {}) for made in (1, 2, 3) for _ in range(50)]
    assert 0.5 <= min(waits[:50]) and max(waits[:50]) <= 1 and 1 <= min(waits[50:100]) and max(waits[50:100]) <= 2
    assert 1.5 <= min(waits[100:]) and max(waits[100:]) <= 3 and len(set(waits)) > 100
