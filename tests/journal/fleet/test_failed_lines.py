"""Lines fail in one engine, and callers wait for them in another one."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from autobatcher.emulator.faults import BatchFault, Fault, FaultPlan, LineFault
from autobatcher.errors import BatchEndedError
from tests.harness import ask, open_harness, outcome_of
from tests.journal.fleet.programs import Fleet
from tests.journal.restarts import billed

FINAL: dict[str, Fault] = {
    "cancelled by somebody": BatchFault(ends="cancelled", after=0.5, list_unfinished=False),
    "cancelled by somebody, and listed": BatchFault(ends="cancelled", after=0.6),
    "executed, and in neither file": LineFault(kind="drop", billed=True, containing="leaves"),
}
REPEATED: dict[str, Fault] = {
    "expired": BatchFault(ends="expired", after=0.5, nth=(1,)),
    "failed with a code that says try again": LineFault(
        kind="fail", code="batch_expired", containing="leaves", batches=(1,)
    ),
}


async def outcomes_in_two_programs(fleet: Fleet, fault: Fault) -> tuple[list[Any], int, dict[str, int]]:
    """The outcomes of a caller of the program that runs the batch, and of one who came back to another program. Also
    how many batches there were, and how often each text was billed."""
    outcomes: list[Any] = [None, None]
    async with (
        open_harness(batch_seconds=60, faults=FaultPlan((fault,))) as harness,
        fleet.member(harness) as first,
        fleet.member(harness) as other,
    ):

        async def ask_for(place: int, client: Any, text: str) -> None:
            outcomes[place] = await outcome_of(ask(client, text))

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(ask_for, 0, first.client, "stays")
            with anyio.move_on_after(20):
                await ask(first.client, "leaves")
            await ask_for(1, other.client, "leaves")
        return outcomes, len(harness.events_named("batch_submitted")), billed(harness)


@pytest.mark.parametrize("fault", FINAL.values(), ids=FINAL)
@pytest.mark.proves("faults", "a batch is cancelled, or loses a line, for which a caller waits in another replica")
async def test_who_waits_elsewhere_is_told_and_nothing_is_sent_again(fleet: Fleet, fault: Fault) -> None:
    (_, waited), batches, bill = await outcomes_in_two_programs(fleet, fault)
    assert isinstance(waited, BatchEndedError)
    assert waited.custom_id
    assert waited.batch_id
    assert batches == 1
    assert bill.get("leaves", 0) <= 1


@pytest.mark.parametrize("fault", REPEATED.values(), ids=REPEATED)
async def test_a_line_that_was_not_executed_is_sent_again_by_who_waits_for_it(fleet: Fleet, fault: Fault) -> None:
    outcomes, _, bill = await outcomes_in_two_programs(fleet, fault)
    assert outcomes == ["stays", "leaves"]
    assert bill == {"stays": 1, "leaves": 1}
