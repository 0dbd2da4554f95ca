"""Batches that their engine has left, and that a caller of another one comes back for."""

from __future__ import annotations

import anyio
import pytest

from autobatcher import BatchUnreachableError
from autobatcher.emulator import FaultPlan, HttpFault
from tests.harness import ask, open_harness, outcome_of, wait_for_event
from tests.journal.fleet.programs import Fleet
from tests.journal.restarts import billed

PATIENT = 100_000


async def test_a_caller_who_comes_back_elsewhere_after_the_batch_was_cancelled_is_answered(fleet: Fleet) -> None:
    async with (
        open_harness(batch_seconds=1000) as harness,
        fleet.member(harness) as first,
        fleet.member(harness) as other,
    ):
        with anyio.move_on_after(20):
            await ask(first.client, "leaves")
        await wait_for_event(harness, "batch_cancelled_upstream")
        await anyio.sleep(60)
        with anyio.fail_after(PATIENT):
            assert await ask(other.client, "leaves") == "leaves"


async def _is_answered_elsewhere_once(fleet: Fleet, refused: HttpFault) -> None:
    """The first engine gives up, and its caller asks another one, which is refused for a while, too."""
    async with (
        open_harness(batch_seconds=10, faults=FaultPlan((refused,))) as harness,
        fleet.member(harness) as first,
        fleet.member(harness) as other,
    ):
        assert isinstance(await outcome_of(ask(first.client, "fails")), BatchUnreachableError)
        outcome: object = None
        with anyio.fail_after(PATIENT):
            while outcome != "fails":
                outcome = await outcome_of(ask(other.client, "fails"))
        assert billed(harness) == {"fails": 1}


async def test_a_caller_whose_answer_could_not_be_read_is_answered_in_another(fleet: Fleet) -> None:
    await _is_answered_elsewhere_once(fleet, HttpFault(operation="files.content", status=403, first=60))


async def test_a_caller_whose_batch_could_not_be_polled_is_answered_in_another(fleet: Fleet) -> None:
    await _is_answered_elsewhere_once(fleet, HttpFault(operation="batches.retrieve", status=403, first=700))


@pytest.mark.proves("faults", "an engine stops while callers of its batch go to another one")
@pytest.mark.parametrize("comes_after_the_stop", [False, True])
async def test_a_batch_whose_caller_has_just_gone_to_another_engine_outlives_its_own(
    comes_after_the_stop: bool, fleet: Fleet
) -> None:
    outcomes: list[object] = []
    async with open_harness(batch_seconds=1000) as harness, fleet.member(harness) as other:

        async def ask_other() -> None:
            outcomes.append(await outcome_of(ask(other.client, "moves")))

        with anyio.fail_after(PATIENT):
            async with anyio.create_task_group() as callers:
                async with fleet.member(harness) as first:
                    with anyio.move_on_after(20):
                        await ask(first.client, "moves")
                    if not comes_after_the_stop:
                        callers.start_soon(ask_other)
                    await anyio.sleep(5)
                if comes_after_the_stop:
                    callers.start_soon(ask_other)
        assert outcomes == ["moves"]
        assert billed(harness) == {"moves": 1}
        assert harness.emulator.statistics().batches_created == 1
