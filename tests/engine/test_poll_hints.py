"""A hint that a batch has ended, from a webhook: the batch is polled at once, and not more than that helps."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from autobatcher import BatchOpenAI
from autobatcher.client.server_calls import poll_now
from autobatcher.emulator import FaultPlan, HttpFault
from autobatcher.engine.poll_hints import MOST_EARLY, PollHint, PollHints, bare_id
from tests.harness import Harness, ask, between, open_harness, wait_for_event

SELDOM = 6_000.0
"""An interval at which no test sees a poll that no hint asked for."""


def polls(harness: Harness) -> int:
    return harness.emulator.statistics().http_calls.get("batches.retrieve", 0)


async def submitted(harness: Harness) -> str:
    """The id of the batch, once it is watched."""
    await wait_for_event(harness, "batch_submitted")
    await anyio.wait_all_tasks_blocked()
    return str(harness.events_named("batch_submitted")[0]["batch_id"])


@pytest.mark.proves("faults", "webhooks come twice, late, too early, for batches of others, by the thousand")
async def test_however_often_a_batch_is_said_to_have_ended_it_is_polled_once_and_answered_at_once() -> None:
    async with open_harness(batch_seconds=30) as harness, harness.client(poll_interval_seconds=SELDOM) as client:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(ask, client, "x")
            batch_id = await submitted(harness)
            await anyio.sleep(40)
            for each in ("batch_of-others", batch_id, *[f"batch_{bare_id(batch_id)}"] * 10, "../files"):
                poll_now(client, each)
            hinted_at = anyio.current_time()
        assert anyio.current_time() - hinted_at < 1
        assert polls(harness) == 1
        assert not poll_now(client, batch_id)  # it is over
        await anyio.sleep(100)
        assert polls(harness) == 1


async def test_a_batch_that_seems_to_run_on_is_polled_again_soon_and_then_by_the_schedule() -> None:
    async with (
        open_harness(batch_seconds=50_000) as harness,
        harness.client(poll_interval_seconds=SELDOM) as client,
        anyio.create_task_group() as nursery,
    ):
        nursery.start_soon(ask, client, "x")
        assert poll_now(client, await submitted(harness))
        await anyio.sleep(1_000)
        assert polls(harness) == 5  # it is said to have changed, so the interval does not grow
        await anyio.sleep(SELDOM)
        assert polls(harness) == 6
        nursery.cancel_scope.cancel()


async def test_an_upstream_whose_webhook_is_ahead_of_its_api_is_believed_within_seconds() -> None:
    async with open_harness(batch_seconds=30) as harness, harness.client(poll_interval_seconds=SELDOM) as client:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(ask, client, "x")
            batch_id = await submitted(harness)
            await anyio.sleep(27)
            poll_now(client, batch_id)
        assert anyio.current_time() < 40


async def test_a_flood_of_hints_is_no_flood_of_polls() -> None:
    async with (
        open_harness(batch_seconds=5_000) as harness,
        harness.client(poll_interval_seconds=SELDOM) as client,
        anyio.create_task_group() as nursery,
    ):
        nursery.start_soon(ask, client, "x")
        batch_id = await submitted(harness)
        for _ in range(300):
            poll_now(client, batch_id)
            await anyio.sleep(0.1)
        assert 10 < polls(harness) <= 32
        nursery.cancel_scope.cancel()


async def test_hints_for_many_batches_that_run_on_share_a_rate_of_polls() -> None:
    hints = PollHints()
    given: list[PollHint] = [hints.of(f"b{number}") for number in range(200)]
    for number, hint in enumerate(given):
        assert hints.give(f"b{number}")
        with hint.pause():
            await anyio.sleep(SELDOM)
    assert given[0].next_wait(SELDOM) == 20
    assert given[0].is_followed


async def test_a_hint_does_not_cut_short_what_the_upstream_asks_for() -> None:
    busy = HttpFault(operation="batches.retrieve", status=429, headers={"retry-after": "30"}, first=1)
    async with (
        open_harness(batch_seconds=1, faults=FaultPlan((busy,))) as harness,
        harness.client(poll_interval_seconds=SELDOM) as client,
    ):
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(ask, client, "x")
            batch_id = await submitted(harness)
            await anyio.sleep(10)
            for _ in range(20):
                poll_now(client, batch_id)
                await anyio.sleep(1)
            assert polls(harness) == 1
        assert polls(harness) == 2
        assert anyio.current_time() < 60


@pytest.mark.proves("faults", "webhooks come twice, late, too early, for batches of others, by the thousand")
async def test_a_hint_that_overtakes_the_answer_to_the_creation_is_not_lost() -> None:
    clients: list[BatchOpenAI] = []

    async def answer(request: Any, send: Any) -> Any:
        response = await send(request)
        if (request.method, request.url.path) == ("POST", "/v1/batches"):
            (batch,) = harness.emulator.statistics().batches
            poll_now(clients[0], batch.id)
            await anyio.sleep(5)
        return response

    async with (
        open_harness() as harness,
        harness.client(poll_interval_seconds=SELDOM, http_client=between(harness, answer)) as client,
    ):
        clients.append(client)
        await ask(client, "x")
        assert anyio.current_time() < 10
        assert polls(harness) == 1


def test_hints_that_wait_for_their_batches_are_bounded_and_equal_ones_are_kept_once() -> None:
    hints = PollHints()
    assert [hints.give("b"), hints.give("b")] == [True, False]
    for number in range(2 * MOST_EARLY):
        hints.give(f"other{number}")
    assert hints.give("b")
