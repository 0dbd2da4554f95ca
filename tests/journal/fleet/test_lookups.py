"""Requests whose lookup is cut short."""

from __future__ import annotations

import anyio

from tests.harness import ask, open_harness, outcome_of, wait_for_event
from tests.journal.fleet.programs import Fleet
from tests.journal.restarts import billed


async def test_an_answer_that_was_found_when_its_engine_closed_goes_to_who_asks_next(fleet: Fleet) -> None:
    fleet.commit_seconds = 1.0
    async with (
        open_harness(batch_seconds=30) as harness,
        fleet.member(harness) as first,
        anyio.create_task_group() as nursery,
    ):
        nursery.start_soon(ask, first.client, "stays")
        with anyio.move_on_after(20):
            await ask(first.client, "leaves")
        await wait_for_event(harness, "batch_completed")
        await anyio.sleep(10)
        async with fleet.member(harness) as other:
            nursery.start_soon(outcome_of, ask(other.client, "leaves"))
            await anyio.sleep(0.5)
        assert await ask(first.client, "leaves") == "leaves"
        assert billed(harness) == {"stays": 1, "leaves": 1}
