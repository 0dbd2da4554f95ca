"""A failed cancellation makes us poll whether the batch has ended."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from autobatcher.emulator import FaultPlan, HttpFault
from tests.harness import HTTP, Send, ask, between, open_harness, wait_for_event


@pytest.mark.proves("faults", "the cancellation of a batch that has ended is answered 400, 404, 409 or 500")
@pytest.mark.parametrize("status", [400, 404, 409, 500, 503])
async def test_a_batch_that_ended_before_it_could_be_cancelled_is_done_with_at_once(status: int) -> None:
    plan = FaultPlan((HttpFault(operation="batches.cancel", status=status),))
    settings: dict[str, Any] = {"max_active_batches": 1, "batch_window_seconds": 0.1, "poll_interval_seconds": 0.5}
    async with open_harness(faults=plan, batch_seconds=5.0) as harness:
        async with harness.client(**settings) as client:
            with anyio.move_on_after(3.0):
                await ask(client, "left")
            await anyio.sleep(10)
            begun = anyio.current_time()
            assert "next" in await ask(client, "next")
            assert anyio.current_time() - begun < 60
            begun = anyio.current_time()
        assert anyio.current_time() - begun < 5
        assert harness.emulator.statistics().input_file_ids == ()
        assert not harness.events_named("batch_cancel_failed")


@pytest.mark.parametrize("status", [403, 404, 409, 500])
async def test_a_cancellation_that_is_refused_once_is_tried_again(status: int) -> None:
    plan = FaultPlan((HttpFault(operation="batches.cancel", first=1, status=status),))
    async with open_harness(faults=plan, batch_seconds=5000.0) as harness, harness.client() as client:
        with anyio.move_on_after(5.0):
            await ask(client, "left")
        await wait_for_event(harness, "batch_cancelled_upstream")
        assert harness.emulator.statistics().running_batch_ids == ()


async def test_a_cancellation_that_is_refused_for_good_is_told_and_gives_its_place_away() -> None:
    async def refused(request: Any, send: Send) -> Any:
        if request.url.path.endswith("/cancel"):
            return HTTP.Response(403, json={"error": {"message": "no"}})
        return await send(request)

    async with (
        open_harness(batch_seconds=500_000.0) as harness,
        harness.client(http_client=between(harness, refused), max_active_batches=1) as client,
    ):
        with anyio.move_on_after(5.0):
            await ask(client, "left")
        await wait_for_event(harness, "batch_cancel_failed")
        assert "403" in harness.events_named("batch_cancel_failed")[0]["error"]
        with anyio.move_on_after(100):
            await ask(client, "next")
        await wait_for_event(harness, "batch_submitted", 2)


async def test_a_lookup_that_fails_once_leaves_no_uncertain_batch_running() -> None:
    """The response to the creation is lost, all callers leave, and the lookup before the cancellation is refused
    once."""
    plan = FaultPlan(
        (
            HttpFault(operation="batches.create", nth=(1,), lose_answer=True),
            HttpFault(operation="batches.list", first=1, status=403),
        )
    )
    async with open_harness(faults=plan, batch_seconds=5000.0) as harness, harness.client() as client:
        with anyio.move_on_after(3.0):
            await ask(client, "left")
        await wait_for_event(harness, "batch_cancelled_upstream")
        assert harness.emulator.statistics().running_batch_ids == ()
