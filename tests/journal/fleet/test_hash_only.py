"""A shared journal that stores neither prompts nor answers."""

from __future__ import annotations

import anyio

from tests.harness import ask, open_harness
from tests.journal.fleet.programs import Fleet
from tests.journal.restarts import billed


async def test_an_answer_that_nobody_took_is_read_upstream_by_who_asks_again(fleet: Fleet) -> None:
    settings = {"journal_hash_only": True}
    async with (
        open_harness(batch_seconds=50) as harness,
        fleet.member(harness, **settings) as first,
        fleet.member(harness, **settings) as other,
        anyio.create_task_group() as nursery,
    ):
        nursery.start_soon(ask, first.client, "stays")
        with anyio.move_on_after(20):
            await ask(first.client, "leaves")
        await anyio.sleep(5)
        assert await ask(other.client, "leaves") == "leaves"
        await anyio.sleep(100)
        assert billed(harness) == {"stays": 1, "leaves": 1}


async def test_a_batch_of_a_program_that_died_is_read_by_another(fleet: Fleet) -> None:
    settings = {"journal_hash_only": True}
    async with open_harness(batch_seconds=50) as harness, fleet.member(harness, **settings) as other:
        async with fleet.member(harness, **settings) as first:
            with anyio.move_on_after(20):
                await ask(first.client, "a")
            first.die()
        await anyio.sleep(100)
        assert await ask(other.client, "a") == "a"
        assert billed(harness) == {"a": 1}
