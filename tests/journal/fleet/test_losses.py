"""An engine loses the database, and others take its batches meanwhile."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from autobatcher.engine.recovery.remote_answers import NEWS_SECONDS
from tests.harness import ask, open_harness, outcome_of, wait_for_event
from tests.journal.fleet.programs import Fleet, Member, find_database, lose_database
from tests.journal.restarts import billed


@pytest.mark.proves("faults", "an engine loses the database, and another one takes its batches over meanwhile")
async def test_callers_are_answered_whose_batch_another_engine_took(fleet: Fleet) -> None:
    async with (
        open_harness(batch_seconds=200) as harness,
        fleet.member(harness) as first,
        fleet.member(harness) as other,
        anyio.create_task_group() as nursery,
    ):
        assert await ask(other.client, "before") == "before"
        answers: list[Any] = []

        async def ask_first() -> None:
            answers.append(await outcome_of(ask(first.client, "a")))

        nursery.start_soon(ask_first)
        await wait_for_event(harness, "batch_submitted", 2)
        lose_database(first)
        await wait_for_event(harness, "batch_resumed")
        find_database(first)
        await anyio.sleep(250)
        assert answers == ["a"]
        assert billed(harness) == {"before": 1, "a": 1}


async def test_calls_wait_for_a_database_that_is_away_for_a_moment(fleet: Fleet) -> None:
    async with open_harness(batch_seconds=50) as harness, fleet.member(harness) as first:
        async with anyio.create_task_group() as nursery:
            assert await ask(first.client, "before") == "before"
            lose_database(first)
            nursery.start_soon(ask, first.client, "meanwhile")
            await anyio.sleep(20)
            find_database(first)
        assert billed(harness) == {"before": 1, "meanwhile": 1}


@pytest.mark.proves("faults", "a client leaves a proxy that has lost the database, and asks it again when that is back")
async def test_who_left_while_the_database_was_away_finds_the_place_that_was_left(fleet: Fleet) -> None:
    async with (
        open_harness(batch_seconds=200) as harness,
        fleet.member(harness) as first,
        fleet.member(harness) as other,
        anyio.create_task_group() as nursery,
    ):
        assert await ask(other.client, "before") == "before"
        nursery.start_soon(ask, first.client, "stays")
        with anyio.move_on_after(20):
            await ask(first.client, "leaves")
        with anyio.move_on_after(3 * NEWS_SECONDS):  # so that it is asked for answers, and asked again
            nursery.start_soon(_lose_database_after, 5, other)
            await ask(other.client, "leaves")
        find_database(other)
        await anyio.sleep(60)  # until it has asked once more
        assert await ask(other.client, "leaves") == "leaves"
        assert billed(harness) == {"before": 1, "stays": 1, "leaves": 1}


async def _lose_database_after(seconds: float, member: Member) -> None:
    await anyio.sleep(seconds)
    lose_database(member)


async def test_a_batch_is_read_while_the_database_is_away_and_its_end_is_recorded_later(fleet: Fleet) -> None:
    async with open_harness(batch_seconds=50) as harness, fleet.member(harness) as first:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(ask, first.client, "a")
            await wait_for_event(harness, "batch_submitted")
            lose_database(first)
        find_database(first)
        await anyio.sleep(100)
        assert billed(harness) == {"a": 1}
        assert first.stores[0].batches()[0].stage == "ended"
