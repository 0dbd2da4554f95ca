"""How accounts that belong to strangers share one engine."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatcher import BatchOpenAI
from autobatcher.engine.fair_limiter import FairLimiter
from autobatcher.engine.shares import Shares
from tests.harness import Harness, Send, ask, between, open_harness

GREEDY = ("greedy-1", "greedy-2", "greedy-3")
MODELS = 40


class Held:
    """An upstream that keeps waiting what the greedy accounts ask for: one kind of call, by its method and path."""

    def __init__(self, method: str, path: str) -> None:
        self.kind = (method, path)
        self.count = 0

    async def __call__(self, request: Any, send: Send) -> Any:
        is_greedy = any(key in request.headers["authorization"] for key in GREEDY)
        if is_greedy and request.method == self.kind[0] and self.kind[1] in request.url.path:
            self.count += 1
            await anyio.sleep_forever()
        return await send(request)


def client_of(harness: Harness, upstream: Held, **settings: Any) -> BatchOpenAI:
    few: dict[str, Any] = {"max_active_batches": 10, "batch_size": 1, **settings}
    return harness.client(isolate_accounts=True, http_client=between(harness, upstream), max_retries=0, **few)


async def ask_greedily(client: BatchOpenAI, nursery: anyio.abc.TaskGroup) -> None:
    """Each greedy account asks many models, so that each question is a batch of its own."""
    for key in GREEDY:
        for number in range(MODELS):
            nursery.start_soon(ask, client.with_options(api_key=key), "more", f"model-{number}")
    await anyio.wait_all_tasks_blocked()


@pytest.mark.proves("faults", "One caller of a proxy with forwarded keys asks for all that there is")
@pytest.mark.parametrize("kind", [("GET", "/batches/"), ("POST", "/files"), ("POST", "/batches")])
async def test_one_accounts_work_waits_for_no_others(kind: tuple[str, str]) -> None:
    """Their batches never end; their uploads, creations or polls are never answered."""
    async with open_harness() as harness:
        upstream = Held(*kind)
        async with client_of(harness, upstream) as client, anyio.create_task_group() as nursery:
            await ask_greedily(client, nursery)
            await anyio.sleep(60)
            assert upstream.count  # it is under way
            with anyio.fail_after(120):
                assert await ask(client.with_options(api_key="modest"), "hello") == "hello"
            nursery.cancel_scope.cancel()


async def test_accounts_that_came_together_go_in_turn() -> None:
    async with (
        open_harness(batch_seconds=10) as harness,
        client_of(harness, Held("NONE", "")) as client,
        anyio.create_task_group() as nursery,
    ):
        await ask_greedily(client, nursery)
        start = anyio.current_time()
        assert await ask(client.with_options(api_key="modest"), "hello") == "hello"
        assert anyio.current_time() - start < 60  # all others need more than 10 rounds of 10 s
        nursery.cancel_scope.cancel()


async def test_one_accounts_bytes_leave_room_for_others() -> None:
    async with open_harness() as harness:
        upstream = Held("POST", "/files")
        async with (
            client_of(harness, upstream, max_queued_bytes=2_000) as client,
            anyio.create_task_group() as nursery,
        ):
            await ask_greedily(client, nursery)
            with anyio.fail_after(120):
                assert await ask(client.with_options(api_key="modest"), "hello") == "hello"
            nursery.cancel_scope.cancel()


async def test_an_account_alone_in_a_client_of_its_owner_gets_all_places() -> None:
    async with open_harness() as harness:
        upstream = Held("POST", "/batches")
        settings: dict[str, Any] = {"max_active_batches": 10, "batch_size": 1}
        async with (
            harness.client(http_client=between(harness, upstream), **settings) as client,
            anyio.create_task_group() as nursery,
        ):
            await ask_greedily(client, nursery)
            await anyio.sleep(60)
            assert upstream.count == 10
            nursery.cancel_scope.cancel()


def test_a_greedy_account_leaves_half_and_two_leave_a_third() -> None:
    shares = Shares(12, isolates=True)
    assert _fill(shares, "a") == 6
    shares.give_back("a", 6)
    while shares.fits("a") or shares.fits("b"):
        for account in ("a", "b"):
            if shares.fits(account):
                shares.take(account)
    assert (shares.held("a"), shares.held("b")) == (4, 4)
    assert shares.fits("c")


def _fill(shares: Shares, account: str) -> int:
    while shares.fits(account):
        shares.take(account)
    return shares.held(account)


@given(
    isolates=st.booleans(),
    steps=st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 12), st.booleans()), max_size=60),
)
async def test_a_limiter_holds_its_limit_forgets_nobody_and_gives_all_back(
    isolates: bool, steps: list[tuple[str, int, bool]]
) -> None:
    limiter, held, most = FairLimiter(10, isolates=isolates), [], 0

    async def come(account: str, size: int) -> None:
        nonlocal most
        await limiter.acquire(account, size)
        held.append((account, size))
        most = max(most, sum(each for _, each in held) if len(held) > 1 else 0)

    async with anyio.create_task_group() as nursery:
        for account, size, releases in steps:
            nursery.start_soon(come, account, size)
            await anyio.wait_all_tasks_blocked()
            if releases and held:
                limiter.release(*held.pop(0))
                await anyio.wait_all_tasks_blocked()
        while held:
            limiter.release(*held.pop(0))
            await anyio.wait_all_tasks_blocked()
    assert most <= 10  # what is larger than the limit is alone
    limiter.acquire_nowait("a", 10)


async def test_a_waiter_who_may_not_hold_more_keeps_nobody_waiting() -> None:
    limiter = FairLimiter(4, isolates=True)
    limiter.acquire_nowait("greedy")
    limiter.acquire_nowait("greedy")
    with pytest.raises(anyio.WouldBlock):
        limiter.acquire_nowait("greedy")
    async with anyio.create_task_group() as nursery:
        nursery.start_soon(limiter.acquire, "greedy")
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(1):
            async with limiter.turn("modest"):
                pass
        nursery.cancel_scope.cancel()
