"""Requests with one idempotency key are one request, whichever programs they reach."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from autobatcher import BatchOpenAI
from autobatcher.emulator import FaultPlan, LineFault
from autobatcher.engine.request import Answer
from autobatcher.errors import IdempotencyKeyReusedError
from tests.harness import open_harness, outcome_of
from tests.journal.fleet.programs import Fleet
from tests.journal.postgres.stores import cut
from tests.journal.restarts import billed

SLOW: dict[str, Any] = {"batch_seconds": 100}


async def ask(client: BatchOpenAI, text: str, key: str | None = "k", *, is_retry: bool = False) -> str:
    """One chat call with a key; the emulator's echo of `text`, or the status of a failure."""
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    request = client.submit_nowait("/v1/chat/completions", json.dumps(body).encode())
    request.key = None if key is None else key.encode()
    request.is_retry = is_retry
    await request.outcome()
    answer = request.result()
    return _content(answer) if answer.status_code == 200 else str(answer.status_code)


def _content(answer: Answer) -> str:
    content: str = json.loads(answer.body)["choices"][0]["message"]["content"]
    return content


@pytest.mark.proves("faults", "requests with one Idempotency-Key reach several replicas")
async def test_requests_with_one_key_are_one_request_while_it_runs_and_afterwards(fleet: Fleet) -> None:
    async with (
        open_harness(**SLOW) as harness,
        fleet.member(harness) as first,
        fleet.member(harness) as other,
    ):
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(ask, first.client, "a")
            await anyio.sleep(0.5)  # not in a batch yet
            nursery.start_soon(ask, other.client, "a")
            await anyio.sleep(20)
            nursery.start_soon(ask, other.client, "a")
        for client in (first.client, other.client, other.client):
            assert await ask(client, "a") == "a"
        assert billed(harness) == {"a": 1}
        assert await ask(other.client, "a", "another key") == "a"
        assert await ask(other.client, "a", None) == "a"
        assert billed(harness) == {"a": 3}


@pytest.mark.proves("faults", "an Idempotency-Key comes with another body to another replica")
async def test_a_key_of_another_request_is_a_conflict_until_its_answer_is_forgotten(fleet: Fleet) -> None:
    async with (
        open_harness(**SLOW) as harness,
        fleet.member(harness) as first,
        fleet.member(harness) as other,
        anyio.create_task_group() as nursery,
    ):
        nursery.start_soon(ask, first.client, "a")
        for seconds in (0.5, 20, 200):  # in a window, in a batch, answered
            await anyio.sleep(seconds)
            assert isinstance(await outcome_of(ask(other.client, "b")), IdempotencyKeyReusedError)
        assert isinstance(await outcome_of(ask(first.client, "b")), IdempotencyKeyReusedError)
        assert billed(harness) == {"a": 1}


async def test_the_line_of_a_caller_who_left_is_for_its_key_alone(fleet: Fleet) -> None:
    async with open_harness(**SLOW) as harness, fleet.member(harness) as first, fleet.member(harness) as other:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(ask, first.client, "stays", None)
            with anyio.move_on_after(20):
                await ask(first.client, "a")
            nursery.start_soon(ask, other.client, "a", None)
            nursery.start_soon(ask, other.client, "a")
            await anyio.sleep(20)
            assert billed(harness) == {}
        assert billed(harness) == {"stays": 1, "a": 2}


async def test_a_request_that_was_withdrawn_or_failed_frees_its_key(fleet: Fleet) -> None:
    plan = FaultPlan((LineFault(kind="fail", status=400, batches=(1,)),))
    async with (
        open_harness(batch_seconds=10, faults=plan) as harness,
        fleet.member(harness) as first,
        fleet.member(harness) as other,
    ):
        with anyio.move_on_after(0.5):
            await ask(first.client, "withdrawn")
        assert await ask(other.client, "fails") == "400"
        assert await ask(first.client, "a") == "a"
        assert await ask(other.client, "a") == "a"
        assert billed(harness)["a"] == 1


@pytest.mark.proves("faults", "the replica dies that has the request of an Idempotency-Key")
@pytest.mark.parametrize("seconds", [0.5, 20])  # in a window, in a batch
async def test_who_waits_for_a_key_takes_the_place_of_a_program_that_died(fleet: Fleet, seconds: float) -> None:
    async with open_harness(**SLOW) as harness, fleet.member(harness) as other, anyio.create_task_group() as nursery:
        async with fleet.member(harness) as first, anyio.create_task_group() as inner:
            inner.start_soon(outcome_of, ask(first.client, "a"))
            await anyio.sleep(seconds)
            nursery.start_soon(ask, other.client, "a")
            await anyio.sleep(2)
            first.die()
        assert await ask(other.client, "a") == "a"
        assert billed(harness) == {"a": 1}


async def test_an_answer_outlives_the_program_that_was_given_it_and_ended_well(fleet: Fleet) -> None:
    async with open_harness(batch_seconds=10) as harness, fleet.member(harness) as other:
        async with fleet.member(harness) as first:
            assert await ask(first.client, "a") == "a"
        assert await ask(other.client, "a") == "a"
        assert billed(harness) == {"a": 1}


async def test_an_answer_that_no_journal_stores_is_read_again(fleet: Fleet) -> None:
    settings = {"journal_hash_only": True}
    async with (
        open_harness(batch_seconds=50) as harness,
        fleet.member(harness, **settings) as first,
        fleet.member(harness, **settings) as other,
    ):
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(ask, first.client, "a")
            await anyio.sleep(20)
            nursery.start_soon(ask, other.client, "a")
        with anyio.fail_after(100):
            async with anyio.create_task_group() as nursery:
                for client in (first.client, first.client, other.client, other.client):
                    nursery.start_soon(ask, client, "a")
        assert billed(harness) == {"a": 1}


@pytest.mark.proves("faults", "the replica dies that has the request of an Idempotency-Key")
async def test_a_program_that_lost_its_session_sends_nothing_whose_key_another_has_taken(fleet: Fleet) -> None:
    async with (
        open_harness(batch_seconds=10) as harness,
        fleet.member(harness, batch_window_seconds=60) as first,
        fleet.member(harness) as other,
        anyio.create_task_group() as nursery,
    ):
        nursery.start_soon(ask, first.client, "a")
        await anyio.sleep(1.1)
        cut(first.stores[0])
        assert await ask(other.client, "a") == "a"
        await anyio.sleep(100)
        assert billed(harness) == {"a": 1}
        assert await ask(first.client, "a") == "a"


@pytest.mark.parametrize("key", ["k", None])
async def test_a_caller_who_leaves_while_its_request_is_looked_up_leaves_nothing_behind(
    fleet: Fleet, key: str | None
) -> None:
    async with open_harness(**SLOW) as harness, fleet.member(harness) as first, fleet.member(harness) as other:
        assert await ask(other.client, "opened", None) == "opened"
        other.writers[0].commit_seconds = 1.0
        with anyio.move_on_after(0.5):
            await ask(other.client, "new", "another key")
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(ask, first.client, "a", key)
            await anyio.sleep(20)
            with anyio.move_on_after(0.5):
                await ask(other.client, "a", key, is_retry=True)
            await anyio.sleep(20)
        assert await ask(other.client, "a", key) == "a"
        assert await ask(first.client, "new", "another key") == "new"
        assert billed(harness) == {"opened": 1, "a": 1 if key else 2, "new": 1}


async def test_an_answer_that_no_journal_stores_and_nobody_took_is_read_again(fleet: Fleet) -> None:
    settings = {"journal_hash_only": True}
    async with open_harness(batch_seconds=50) as harness, fleet.member(harness, **settings) as only:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(ask, only.client, "stays", None)
            with anyio.move_on_after(20):
                await ask(only.client, "a")
        with anyio.fail_after(100):
            assert await ask(only.client, "a") == "a"
        assert billed(harness) == {"stays": 1, "a": 1}
