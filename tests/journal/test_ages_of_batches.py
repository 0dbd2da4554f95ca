"""What a program learns of batches of an earlier one, and of cancellations, and keeps."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from autobatcher.engine.lanes.cancellations import ENOUGH, MARGIN
from autobatcher.engine.lanes.durations import Durations
from autobatcher.engine.lanes.kinds import BatchKind
from autobatcher.upstream.providers import OPENAI
from tests.harness import ask, open_harness, outcome_of, wait_for_event
from tests.journal.restarts import Program, Restarts

pytestmark = pytest.mark.full_price

BATCH = BatchKind("openai", "m", 0, "24h")
SETTINGS: dict[str, Any] = {"lanes": ("batch", "realtime"), "poll_interval_seconds": 10.0}


def durations(program: Program) -> Durations:
    batcher = program.client._engine.host.batcher
    assert batcher is not None
    return batcher.dispatcher.durations


async def test_the_time_that_a_resumed_batch_still_needs_counts_from_its_creation(restarts: Restarts) -> None:
    """Of batches that have run for five hours, half need hours more; a new one needs seven minutes."""
    async with open_harness(batch_seconds=50_000) as harness:
        await _die_after(restarts, harness, 5 * 3_600.0)
        async with restarts.program(harness) as program, anyio.create_task_group() as nursery:
            nursery.start_soon(outcome_of, ask(program.client, "a"))
            await wait_for_event(harness, "batch_resumed")
            statistics = program.client.batch_statistics()
            assert statistics is not None
            (left,) = statistics.remaining_seconds.values()
            assert left == pytest.approx(durations(program).remaining_quantile(BATCH, 5 * 3_600.0, 0.5), rel=0.01)
            assert left > 3_600
            nursery.cancel_scope.cancel()


async def test_the_time_that_a_resumed_batch_took_counts_from_its_creation(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=20_000) as harness:
        await _die_after(restarts, harness, 19_000)
        async with restarts.program(harness, **SETTINGS) as program:
            before = durations(program).chance(BATCH, 3_600)
            await ask(program.client, "a")
            assert durations(program).chance(BATCH, 3_600) < before


async def test_nothing_is_learned_of_a_batch_that_ended_while_no_program_ran(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=600) as harness:
        await _die_after(restarts, harness, 100)
        await anyio.sleep(50_000)
        async with restarts.program(harness, **SETTINGS) as program:
            await ask(program.client, "a")
            assert not durations(program)


async def test_the_next_program_leaves_as_much_time_for_a_cancellation_as_the_last_ones_took(
    restarts: Restarts,
) -> None:
    async with open_harness(has_lanes=True, batch_seconds=90_000, cancelling_seconds=30.0) as harness:
        async with restarts.program(harness, batch_size=1, **SETTINGS) as program, anyio.create_task_group() as nursery:
            for number in range(ENOUGH):
                nursery.start_soon(_by_deadline, program, f"{number}")
        async with restarts.program(harness, **SETTINGS) as program:
            with program.client.deadline("6h"):
                await ask(program.client, "a")
            expected = durations(program).cancellations.expected_seconds(OPENAI)
    assert 30 * MARGIN <= expected <= 60 * MARGIN


async def _die_after(restarts: Restarts, harness: Any, seconds: float) -> None:
    async with restarts.program(harness, **SETTINGS) as program, anyio.create_task_group() as nursery:
        nursery.start_soon(outcome_of, ask(program.client, "a"))
        await anyio.sleep(seconds)
        program.die()


async def _by_deadline(program: Program, text: str) -> None:
    with program.client.deadline("6h"):
        assert await ask(program.client, text) == text
