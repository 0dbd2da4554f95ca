"""What became of a batch is told when the client closes, also if its end was not yet seen."""

from __future__ import annotations

import anyio
import pytest

from autobatcher.emulator import FaultPlan, HttpFault
from tests.harness import ask, open_harness, outcome_of, wait_for_event


@pytest.mark.parametrize("delay", [0.0, 3.0])
async def test_a_batch_whose_lines_are_all_answered_is_told_as_completed_by_a_close(delay: float) -> None:
    """The last answer came by partial output, and the client closes before the next poll."""
    async with open_harness("doubleword", batch_seconds=30) as harness:
        async with harness.client(poll_interval_seconds=2) as client:
            async with anyio.create_task_group() as nursery:
                for number in range(4):
                    nursery.start_soon(ask, client, f"q{number}")
            await anyio.sleep(delay)
        assert len(harness.events_named("batch_completed")) == 1
        assert not harness.events_named("batch_left")


async def test_a_batch_is_told_as_completed_by_a_close_between_its_last_answer_and_the_end_of_its_file() -> None:
    slow_end = HttpFault(operation="files.content", pad_bytes=400, drip_seconds=0.01, first=1)
    async with open_harness(batch_seconds=3, faults=FaultPlan((slow_end,))) as harness:
        async with harness.client(poll_interval_seconds=1) as client:
            await ask(client, "x")
        assert [event["status"] for event in harness.events_named("batch_progress")][-1] == "completed"
        assert len(harness.events_named("batch_completed")) == 1
        assert not harness.events_named("batch_left")


async def test_a_batch_that_ended_since_the_last_poll_is_told_as_completed() -> None:
    async with open_harness(batch_seconds=30) as harness:
        async with harness.client(poll_interval_seconds=20) as client, anyio.create_task_group() as nursery:
            nursery.start_soon(outcome_of, ask(client, "x"))
            await wait_for_event(harness, "batch_progress")
            await anyio.sleep(33 - anyio.current_time())  # it ends at 31, and the next poll is later
            await client.close()
            nursery.cancel_scope.cancel()
        assert len(harness.events_named("batch_completed")) == 1


async def test_a_batch_that_runs_on_is_told_as_left() -> None:
    async with open_harness(batch_seconds=3000) as harness:
        async with harness.client() as client, anyio.create_task_group() as nursery:
            nursery.start_soon(outcome_of, ask(client, "x"))
            await wait_for_event(harness, "batch_submitted")
            await client.close()
            nursery.cancel_scope.cancel()
        assert [event["batch_id"] for event in harness.events_named("batch_left")]
        assert not harness.events_named("batch_completed")
        assert harness.emulator.statistics().running_batch_ids


async def test_a_batch_that_is_cancelled_at_the_close_is_not_told_as_left() -> None:
    async with open_harness(batch_seconds=3000) as harness:
        async with (
            harness.client(cancel_active_batches_on_close=True) as client,
            anyio.create_task_group() as nursery,
        ):
            nursery.start_soon(outcome_of, ask(client, "x"))
            await wait_for_event(harness, "batch_submitted")
            await client.close()
            nursery.cancel_scope.cancel()
        assert harness.events_named("batch_cancelled_upstream")
        assert not harness.events_named("batch_left")
