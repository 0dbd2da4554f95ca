"""What one stranger asks for costs the same, however many others there are."""

from __future__ import annotations

from typing import Any

import pytest

from autobatcher.engine.request import Answer, Request
from autobatcher.server.exchange import Exchange
from autobatcher.server.hypercorn.peer import Peer
from autobatcher.server.pending_call import Client, PendingCall
from autobatcher.server.pending_calls import PendingCalls
from tests.engine.test_windows import account, make
from tests.operations import growth

FLAT = 1.5
"""The most that the cost of one event may grow while the number of others grows fortyfold."""


async def requests(count: int) -> list[Request]:
    return [await make(account(), body=b"%d" % number) for number in range(count)]


def full(waiting: list[Request]) -> tuple[PendingCalls, list[PendingCall]]:
    """Calls without clients, and no room for another one."""
    pending = PendingCalls(grace_seconds=100, most=len(waiting))
    calls = [pending.add(request, request.body, Client(Peer())) for request in waiting]
    for call in calls:
        pending.detach(call, *call.clients)
    return pending, calls


@pytest.mark.proves("faults", "thousands of calls, keys, models, headers or failures from strangers at once")
async def test_a_refusal_costs_the_same_however_many_calls_wait() -> None:
    waiting = await requests(2_000)
    assert growth(lambda count: lambda: full(waiting[:count])[0].has_room()) < 50  # with their making
    places = {count: full(waiting[:count])[0] for count in (50, 2_000)}
    assert growth(lambda count: places[count].has_room) < FLAT
    assert growth(lambda count: lambda: places[count].detached_count) < FLAT


async def test_the_oldest_answer_that_nobody_claimed_makes_room_for_another_call() -> None:
    pending, calls = full(await requests(3))
    for call in reversed(calls[1:]):
        call.request.settle(Answer(200, b"{}", None, "batch", "line"))
        pending.on_outcome(call)
    assert pending.has_room()
    assert pending.reattach(calls[2].digest, Client(Peer())) is None
    assert pending.reattach(calls[1].digest, Client(Peer())) is calls[1]
    assert pending.add(*_another(calls[0])).clients
    assert not pending.has_room()


def _another(call: PendingCall) -> tuple[Any, ...]:
    return call.request, b"another", Client(Peer())


async def test_a_client_that_comes_and_goes_leaves_nothing_behind() -> None:
    """The grace period has minutes, and what is left would hold bodies and answers."""
    pending, calls = full(await requests(1))
    for _ in range(5_000):
        client = Client(Peer())
        assert pending.reattach(calls[0].digest, client) is calls[0]
        pending.detach(calls[0], client)
    assert len(pending._expirations._heap) < 2_000
    assert pending.detached_count == 1


def test_headers_of_one_name_are_joined() -> None:
    headers = [(b"accept", b"a"), (b"x", b"b"), (b"Accept", b"c"), (b"accept", b"d")]
    exchange = Exchange({"method": "GET", "path": "/", "headers": headers}, None, None)  # type: ignore[arg-type]
    assert exchange.headers == {"accept": "a, c, d", "x": "b"}
