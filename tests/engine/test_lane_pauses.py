"""Deadlines that pass while the process sleeps."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from autobatcher import DeadlineMissedError
from tests.harness import ask, open_harness, outcome_of, pause_process

pytestmark = pytest.mark.full_price


@pytest.mark.proves("faults", "the process is paused over deadlines")
@pytest.mark.parametrize("max_active_batches", [1, 10])
async def test_a_process_that_slept_over_deadlines_tells_them_and_goes_on(max_active_batches: int) -> None:
    async with (
        open_harness(has_lanes=True, batch_seconds=30_000) as harness,
        harness.client(lanes="batch,realtime", max_active_batches=max_active_batches, batch_size=1) as client,
        anyio.create_task_group() as nursery,
    ):
        nursery.start_soon(outcome_of, ask(client, "a patient one"))
        await anyio.sleep(10)
        outcomes: list[Any] = []

        async def call() -> None:
            with client.deadline("3h"):
                outcomes.append(await outcome_of(ask(client, "a")))

        nursery.start_soon(call)
        await anyio.sleep(10)
        pause_process(4 * 3_600)
        await anyio.sleep(10)
        assert [type(outcome) for outcome in outcomes] == [DeadlineMissedError]
        with client.deadline("1m"):
            assert await ask(client, "b") == "b"
        nursery.cancel_scope.cancel()
