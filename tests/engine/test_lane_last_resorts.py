"""No final failure before the deadline while another lane may still answer, and nothing is paid for twice for that."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import pytest

from autobatcher import DeadlineMissedError
from autobatcher.emulator import BatchFault, FaultPlan, HttpFault, LineFault
from tests.harness import Harness, ask, open_harness, outcome_of

pytestmark = pytest.mark.full_price

HOURS = 3_600.0
HURRIED: dict[str, Any] = {"deadline": "6h", "lanes": ("batch", "realtime"), "poll_interval_seconds": 60.0}

LOST = HttpFault(operation="batches.create", first=1, lose_answer=True)
SLOW = HttpFault(operation="batches.create", first=1, delay_seconds=40.0, after_processing=True)
NOT_CREATED = HttpFault(operation="batches.create", first=1, disconnect=True)


def no_list(status: int, until: float | None = None) -> HttpFault:
    return HttpFault(operation="batches.list", status=status, until_seconds=until)


CERTAIN_FAILURES: dict[str, tuple[HttpFault | BatchFault, ...]] = {
    "uploads are refused": (HttpFault(operation="files.create", status=403),),
    "uploads fail": (HttpFault(operation="files.create", status=503),),
    "creations are refused": (HttpFault(operation="batches.create", status=403),),
    "creations fail": (HttpFault(operation="batches.create", status=500),),
    "the batch fails": (BatchFault(ends="failed", error_code="model_not_found"),),
}


@pytest.mark.proves("faults", "with a deadline: a batch that cannot be submitted, or that fails as a whole")
@pytest.mark.parametrize("failure", CERTAIN_FAILURES)
async def test_what_no_batch_takes_goes_to_the_next_lane(failure: str) -> None:
    async with (
        open_harness(has_lanes=True, faults=FaultPlan(CERTAIN_FAILURES[failure])) as harness,
        harness.client(**HURRIED) as client,
    ):
        assert await ask(client, "a") == "a"
        assert _billed(harness) == {"a": 1}


@pytest.mark.proves(
    "faults", "with a deadline: there is no place for a batch, or no room upstream, until it is too late for one"
)
async def test_who_waited_for_room_for_as_long_as_a_batch_may_take_goes_to_the_next_lane() -> None:
    full = HttpFault(operation="batches.create", status=429, code="token_limit_exceeded")
    async with (
        open_harness(has_lanes=True, faults=FaultPlan((full,))) as harness,
        harness.client(deadline="3d", lanes=("batch", "realtime")) as client,
    ):
        assert await ask(client, "a") == "a"


@pytest.mark.proves("faults", "with a deadline: the answer to POST /batches is lost, and the list fails")
@pytest.mark.parametrize("created", [LOST, SLOW])
@pytest.mark.parametrize("status", [500, 403])
async def test_a_batch_that_may_exist_is_looked_up_until_the_list_answers_again(
    created: HttpFault, status: int
) -> None:
    faults = FaultPlan((created, no_list(status, until=HOURS)))
    async with open_harness(has_lanes=True, faults=faults) as harness, harness.client(**HURRIED) as client:
        assert await ask(client, "a") == "a"
        assert _billed(harness) == {"a": 1}
        assert harness.realtime_calls == 0
    assert len(harness.events_named("batch_submitted")) == 1


@pytest.mark.proves("faults", "with a deadline: the answer to POST /batches is lost, and the list fails")
async def test_lines_of_a_batch_that_was_not_created_after_all_go_to_the_next_lane() -> None:
    faults = FaultPlan((NOT_CREATED, no_list(500, until=HOURS)))
    async with open_harness(has_lanes=True, faults=faults) as harness, harness.client(**HURRIED) as client:
        assert await ask(client, "a") == "a"
        assert _billed(harness) == {"a": 1}
        assert harness.realtime_calls == 1


@pytest.mark.proves("faults", "with a deadline: the answer to POST /batches is lost, and the list fails")
async def test_a_batch_of_which_nobody_knows_is_a_missed_deadline_and_no_earlier_failure() -> None:
    faults = FaultPlan((LOST, no_list(500)))
    async with open_harness(has_lanes=True, faults=faults) as harness, harness.client(**HURRIED) as client:
        begun = anyio.current_time()
        outcome = await outcome_of(ask(client, "a"))
        assert isinstance(outcome, DeadlineMissedError)
        assert anyio.current_time() - begun == pytest.approx(6 * HOURS, abs=10)
        assert harness.realtime_calls == 0


async def test_a_creation_that_is_still_open_at_the_cutoff_is_looked_up_and_not_repeated() -> None:
    """Batches took seconds so far, so that this one may begin a few minutes before its cutoff."""
    taught = 40
    lost = HttpFault(operation="batches.create", nth=(taught + 1,), lose_answer=True)
    faults = FaultPlan((lost, HttpFault(operation="batches.list", status=500, from_seconds=60, until_seconds=900)))
    async with (
        open_harness(has_lanes=True, batch_seconds=5, faults=faults) as harness,
        harness.client(**{**HURRIED, "batch_size": 1, "poll_interval_seconds": 2.0}) as client,
    ):
        async with anyio.create_task_group() as nursery:
            for number in range(taught):
                nursery.start_soon(ask, client, f"{number}")
        await anyio.sleep(60)
        with client.deadline("20m"):
            assert await ask(client, "a") == "a"
        assert max(_billed(harness).values()) == 1
        assert harness.realtime_calls == 0


@pytest.mark.proves("faults", "with a deadline: polls are refused for longer than a batch without one bears")
async def test_polls_that_are_refused_for_an_hour_do_not_end_a_batch_that_has_time() -> None:
    refused = HttpFault(operation="batches.retrieve", status=403, until_seconds=HOURS)
    async with (
        open_harness(has_lanes=True, batch_seconds=50_000, faults=FaultPlan((refused,))) as harness,
        harness.client(**HURRIED) as client,
    ):
        assert await ask(client, "a") == "a"
        assert _billed(harness) == {"a": 1}


@pytest.mark.proves("faults", "with a deadline: polls are refused for longer than a batch without one bears")
@pytest.mark.parametrize("operation", ["batches.retrieve", "files.content"])
async def test_lines_of_a_batch_that_is_closed_to_us_go_on_for_those_who_would_rather_pay_twice(operation: str) -> None:
    faults = FaultPlan((HttpFault(operation=operation, status=403),))
    async with (
        open_harness(has_lanes=True, batch_seconds=600, faults=faults) as harness,
        harness.client(on_overrun="pay_twice", **HURRIED) as client,
    ):
        assert await ask(client, "a") == "a"


@pytest.mark.proves("faults", "the flex lane fails for ten minutes, and real time may be used")
async def test_a_lane_that_fails_for_long_is_left_for_the_next_one() -> None:
    failing = HttpFault(operation="flex", status=503)
    async with (
        open_harness(has_lanes=True, faults=FaultPlan((failing,))) as harness,
        harness.client(lanes=("flex", "realtime"), deadline="6h") as client,
    ):
        begun = anyio.current_time()
        assert await ask(client, "a") == "a"
        assert anyio.current_time() - begun < HOURS
        assert _billed(harness) == {"a": 1}


@pytest.mark.proves("faults", "a batch that is cancelled for a deadline names lines before it has ended")
async def test_lines_that_a_batch_names_as_cancelled_before_it_has_ended_go_to_the_next_lane() -> None:
    """Doubleword shows results while it cancels."""
    cancelled = LineFault(kind="fail", code="batch_cancelled", lines=(1, 2, 3, 4))
    slow = BatchFault(ends="stuck", cancelling_seconds=50.0, finished_while_cancelling=1.0, after=1.0, takes=100_000.0)
    async with (
        open_harness("doubleword", has_lanes=True, faults=FaultPlan((slow, cancelled))) as harness,
        harness.client(**HURRIED) as client,
        anyio.create_task_group() as nursery,
    ):
        for text in "abcd":
            nursery.start_soon(_expect, client, text)
    assert _billed(harness) == dict.fromkeys("abcd", 1)


async def _expect(client: Any, text: str) -> None:
    assert await ask(client, text) == text


def _billed(harness: Harness) -> Counter[str]:
    return Counter(each.text for each in harness.emulator.ledger())
