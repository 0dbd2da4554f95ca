"""A webhook comes to one of several programs, and the batch runs in another."""

from __future__ import annotations

import anyio

from autobatcher.client.server_calls import poll_now
from tests.harness import ask, open_harness, wait_for_event
from tests.journal.fleet.programs import Fleet


async def test_a_hint_reaches_the_program_that_runs_the_batch(fleet: Fleet) -> None:
    async with (
        open_harness(batch_seconds=30) as harness,
        fleet.member(harness, poll_interval_seconds=6_000.0) as first,
        fleet.member(harness, poll_interval_seconds=6_000.0) as other,
    ):
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(ask, first.client, "x")
            await wait_for_event(harness, "batch_submitted")
            await anyio.sleep(40)
            (batch,) = harness.emulator.statistics().batches
            for _ in range(3):
                assert not poll_now(other.client, batch.id)
        assert anyio.current_time() < 1_000
        assert harness.emulator.statistics().http_calls["batches.retrieve"] == 1
