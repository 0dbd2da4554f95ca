"""After a crash: a creation of which nobody knows is looked up for as long as deadlines allow."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest

from autobatcher.emulator import FaultPlan, HttpFault
from tests.harness import ask, open_harness, outcome_of
from tests.journal.restarts import Restarts

pytestmark = pytest.mark.full_price

HOURS = 3_600.0


@pytest.mark.proves("faults", "with a deadline: the answer to POST /batches is lost, and the list fails")
@pytest.mark.parametrize("is_created", [True, False])
async def test_a_batch_that_a_crash_left_uncertain_is_looked_up_until_the_list_answers_again(
    is_created: bool, restarts: Restarts
) -> None:
    lost = HttpFault(operation="batches.create", first=1, lose_answer=is_created, disconnect=not is_created)
    faults = FaultPlan((lost, HttpFault(operation="batches.list", status=403, until_seconds=HOURS)))
    settings = {"lanes": ("batch", "realtime"), "deadline": "6h", "poll_interval_seconds": 60.0}
    async with open_harness(has_lanes=True, faults=faults) as harness:
        async with restarts.program(harness, **settings) as program, anyio.create_task_group() as nursery:
            nursery.start_soon(outcome_of, ask(program.client, "a"))
            await anyio.sleep(100)
            program.die()
        async with restarts.program(harness, **settings) as program:
            assert await ask(program.client, "a") == "a"
        assert Counter(each.text for each in harness.emulator.ledger()) == {"a": 1}
