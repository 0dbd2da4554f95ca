"""Requests find their lines in other engines, and batches find another engine."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from autobatcher.engine.journal.postgres.claims import UNREAD_SECONDS
from autobatcher.engine.recovery.lookups import RETRY_SECONDS
from autobatcher.engine.request import Answer
from tests.harness import Send, ask, between, open_harness, outcome_of, pause_process, wait_for_event
from tests.journal.fleet.programs import Fleet, Member, find_database, lose_database
from tests.journal.restarts import ask_all, billed

TEXTS = ["a", "b", "c"]


@pytest.mark.proves("faults", "one of several proxies with a shared journal dies, is stopped, paused or updated")
async def test_requests_of_a_program_that_died_are_answered_by_its_batch_in_another(fleet: Fleet) -> None:
    async with open_harness(batch_seconds=100) as harness, fleet.member(harness) as other:
        async with fleet.member(harness) as first, anyio.create_task_group() as nursery:
            nursery.start_soon(outcome_of, ask_all(first.client, TEXTS))
            await wait_for_event(harness, "batch_submitted")
            await anyio.sleep(10)
            first.die()
        assert await ask_all(other.client, TEXTS) == TEXTS
        assert set(billed(harness).values()) == {1}


async def test_a_caller_who_left_one_program_is_answered_by_its_batch_in_another(fleet: Fleet) -> None:
    async with (
        open_harness(batch_seconds=100) as harness,
        fleet.member(harness) as first,
        fleet.member(harness) as other,
        anyio.create_task_group() as nursery,
    ):
        nursery.start_soon(ask, first.client, "stays")
        with anyio.move_on_after(20):
            await ask(first.client, "leaves")
        assert await ask(other.client, "leaves") == "leaves"
        assert billed(harness) == {"stays": 1, "leaves": 1}


async def test_a_batch_whose_last_caller_waits_in_another_program_is_not_cancelled(fleet: Fleet) -> None:
    async with (
        open_harness(batch_seconds=150) as harness,
        fleet.member(harness) as first,
        fleet.member(harness) as other,
    ):
        with anyio.move_on_after(20):
            await ask(first.client, "leaves")
        assert await ask(other.client, "leaves") == "leaves"
        assert billed(harness) == {"leaves": 1}


async def test_equal_requests_are_as_many_as_were_asked(fleet: Fleet) -> None:
    async with (
        open_harness(batch_seconds=10) as harness,
        fleet.member(harness) as first,
        fleet.member(harness) as other,
        anyio.create_task_group() as nursery,
    ):
        for client in (first.client, first.client, other.client):
            nursery.start_soon(ask, client, "same")
        await anyio.sleep(5)
        nursery.start_soon(ask, other.client, "same")
        nursery.start_soon(ask, other.client, "same")
    assert billed(harness) == {"same": 5}


async def test_a_program_that_ends_leaves_its_batches_to_the_others(fleet: Fleet) -> None:
    settings = {"cancel_active_batches_on_close": False}
    async with open_harness(batch_seconds=100) as harness, fleet.member(harness, **settings) as other:
        assert await ask(other.client, "first") == "first"
        async with fleet.member(harness, **settings) as first, anyio.create_task_group() as nursery:
            nursery.start_soon(outcome_of, ask_all(first.client, TEXTS))
            await wait_for_event(harness, "batch_submitted", 2)
            first.client.keep_for_rerun()
            await first.client.close()
        await wait_for_event(harness, "batch_resumed")
        assert await ask_all(other.client, TEXTS) == TEXTS
        assert set(billed(harness).values()) == {1}


@pytest.mark.proves("faults", "a client leaves one proxy, and asks another one again")
async def test_a_retry_gets_an_answer_that_was_sent_to_nobody(fleet: Fleet) -> None:
    """Behind a load balancer a proxy does not see that its client had gone."""
    async with (
        open_harness(batch_seconds=10) as harness,
        fleet.member(harness) as first,
        fleet.member(harness) as other,
    ):
        assert await ask(first.client, "a") == "a"
        assert await _ask_again(other, "a") == "a"
        await anyio.sleep(100)
        assert await _ask_again(other, "a") == "a"
        assert billed(harness) == {"a": 2}


async def _ask_again(member: Member, text: str) -> str:
    """What a proxy does for a client that says that it retries."""
    body = msgspec.json.encode({"messages": [{"role": "user", "content": text}], "model": "m"})
    request = member.client.submit_nowait("/v1/chat/completions", body)
    request.is_retry = True
    outcome = await request.outcome()
    assert isinstance(outcome, Answer)
    content: str = msgspec.json.decode(outcome.body)["choices"][0]["message"]["content"]
    return content


async def test_a_retry_does_not_wait_for_another_window(fleet: Fleet) -> None:
    async with open_harness(batch_seconds=10) as harness, fleet.member(harness, batch_window_seconds=1000) as other:
        with anyio.fail_after(100):
            assert await _ask_again(other, "a") == "a"


@pytest.mark.proves("faults", "a proxy is updated while it reads stored answers for retries")
async def test_a_stored_answer_that_a_program_had_no_time_to_read_is_free(fleet: Fleet) -> None:
    fleet.commit_seconds = 5.0
    async with open_harness(batch_seconds=10) as harness, fleet.member(harness) as other:
        with anyio.move_on_after(25):
            await ask(other.client, "a")
        await anyio.sleep(100)
        async with fleet.member(harness) as first, anyio.create_task_group() as nursery:
            nursery.start_soon(outcome_of, ask(first.client, "a"))
            await anyio.sleep(7)  # it has claimed the answer, and reads it
            await first.client.close()
        assert await ask(other.client, "a") == "a"
        assert billed(harness) == {"a": 1}


@pytest.mark.proves("faults", "a client leaves one proxy, and asks another one again")
async def test_a_retry_gets_an_old_answer_that_was_sent_to_nobody_a_moment_ago(fleet: Fleet) -> None:
    async with (
        open_harness(batch_seconds=10) as harness,
        fleet.member(harness) as first,
        fleet.member(harness) as other,
    ):
        with anyio.move_on_after(5):
            await ask(first.client, "a")
        for _ in range(3):
            await anyio.sleep(UNREAD_SECONDS - 10)
            assert await _ask_again(other, "a") == "a"
        assert billed(harness) == {"a": 1}


@pytest.mark.proves("faults", "a retry comes to a proxy that has lost the database, while another one has its place")
async def test_a_retry_waits_for_its_place_however_long_the_database_was_away(fleet: Fleet) -> None:
    async with (
        open_harness(batch_seconds=80) as harness,
        fleet.member(harness) as first,
        fleet.member(harness) as other,
        anyio.create_task_group() as nursery,
    ):
        assert await ask(other.client, "before") == "before"
        nursery.start_soon(_leave_after, RETRY_SECONDS + 15, first, "a")
        await wait_for_event(harness, "batch_submitted", 2)
        lose_database(other)
        nursery.start_soon(_ask_again, other, "a")
        await anyio.sleep(RETRY_SECONDS + 5)
        find_database(other)
        await anyio.sleep(300)
        assert billed(harness) == {"before": 1, "a": 1}


async def _leave_after(seconds: float, member: Member, text: str) -> None:
    with anyio.move_on_after(seconds):
        await ask(member.client, text)


@pytest.mark.proves("faults", "a client leaves while its proxy is paused and its batch is being recorded")
async def test_who_left_during_a_pause_in_which_the_batch_was_recorded_is_not_sent(fleet: Fleet) -> None:
    fleet.commit_seconds = 5.0
    async with (
        open_harness(batch_seconds=10) as harness,
        fleet.member(harness) as first,
        anyio.create_task_group() as nursery,
    ):
        leaving = anyio.CancelScope()
        nursery.start_soon(ask, first.client, "stays")
        nursery.start_soon(_ask_in, leaving, first, "leaves")
        while not (first.stores and first.stores[0].batches()):  # noqa: ASYNC110  (rows)
            await anyio.sleep(0.1)
        pause_process(30)
        await anyio.sleep(0.3)  # until its disconnect is read
        leaving.cancel()
    assert billed(harness) == {"stays": 1}


@pytest.mark.proves("faults", "a proxy loses the database between the upload of a batch and its creation")
async def test_a_retry_waits_for_a_batch_that_its_engine_may_still_create(fleet: Fleet) -> None:
    async def answer(request: Any, send: Send) -> Any:
        if request.url.path.endswith("/files") and not uploaded.is_set():
            lose_database(first)
            uploaded.set()
        return await send(request)

    uploaded, leaving = anyio.Event(), anyio.CancelScope()
    async with (
        open_harness(batch_seconds=10) as harness,
        fleet.member(harness) as other,
        fleet.member(harness, http_client=between(harness, answer)) as first,
        anyio.create_task_group() as nursery,
    ):
        nursery.start_soon(ask, first.client, "stays")
        nursery.start_soon(_ask_in, leaving, first, "leaves")
        await uploaded.wait()
        leaving.cancel()
        nursery.start_soon(_ask_again, other, "leaves")
        await anyio.sleep(0.2)
        find_database(first)
    assert billed(harness) == {"stays": 1, "leaves": 1}


async def _ask_in(scope: anyio.CancelScope, member: Member, text: str) -> None:
    with scope:
        await ask(member.client, text)
