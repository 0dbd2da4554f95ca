"""Many requests with deadlines at once: those in front of a request count, too."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import anyio
import pytest

from autobatcher import BatchOpenAI
from autobatcher.emulator import FaultPlan, HttpFault, LogNormal
from autobatcher.engine.dispatch.crowd import place_behind
from autobatcher.engine.dispatch.headcount import Headcount
from tests.harness import Harness, ask, open_harness, outcome_of

pytestmark = pytest.mark.full_price

SPEED: dict[str, Any] = {
    "batch_seconds": 30_000,
    "flex_seconds": LogNormal(median_seconds=30, p90_seconds=180),
    "realtime_seconds": LogNormal(median_seconds=5, p90_seconds=30),
}


async def test_a_crowd_with_little_time_is_not_put_on_a_lane_that_is_too_slow_for_so_many() -> None:
    """Ten minutes are enough for 600 real-time calls, 32 at once, and not for 600 flex calls."""
    async with open_harness(has_lanes=True, **SPEED) as harness, harness.client(lanes="batch,flex,realtime") as client:
        assert await _answered(client, 600, "10m") >= 540
        assert max(_billed(harness).values()) == 1


async def test_a_crowd_that_waits_for_a_place_among_the_batches_leaves_in_time_for_all_of_it() -> None:
    async with (
        open_harness(has_lanes=True, **SPEED) as harness,
        harness.client(lanes="batch,realtime", max_active_batches=1, batch_size=2) as client,
        anyio.create_task_group() as nursery,
    ):
        for text in ("first", "second"):
            nursery.start_soon(outcome_of, ask(client, text))
        await anyio.sleep(10)
        assert await _answered(client, 1_000, "3h") >= 900
        assert max(_billed(harness).values()) == 1
        assert len(harness.events_named("requests_escalated")) < 100
        nursery.cancel_scope.cancel()


async def test_a_crowd_that_is_about_to_get_a_place_stays_in_its_batch() -> None:
    """Singly, two at a time, it could not be answered within its deadline."""
    async with (
        open_harness(has_lanes=True, batch_seconds=60) as harness,
        harness.client(lanes="batch,realtime", lane_concurrency=2, batch_size=5_000) as client,
    ):
        assert await _answered(client, 1_000, "2h") == 1_000
        assert harness.realtime_calls == 0


async def _answered(client: BatchOpenAI, count: int, deadline: str) -> int:
    """How many of so many calls at once were answered in time."""
    outcomes: list[Any] = []

    async def call(number: int) -> None:
        with client.deadline(deadline):
            outcomes.append(await outcome_of(ask(client, f"call {number}")))

    async with anyio.create_task_group() as nursery:
        for number in range(count):
            nursery.start_soon(call, number)
    assert len(outcomes) == count
    return sum(isinstance(outcome, str) for outcome in outcomes)


def _billed(harness: Harness) -> Counter[str]:
    return Counter(each.text for each in harness.emulator.ledger())


@pytest.mark.proves(
    "faults", "with a deadline: there is no place for a batch, or no room upstream, until it is too late for one"
)
@pytest.mark.parametrize("is_throttled", [False, True])
async def test_who_gets_a_place_too_late_for_a_batch_goes_to_the_next_lane(is_throttled: bool) -> None:
    """There is time for a slow call then. Just before the deadline there is none."""
    full = HttpFault(operation="batches.create", status=429, code="token_limit_exceeded")
    faults = FaultPlan((full,) if is_throttled else ())
    async with (
        open_harness(has_lanes=True, batch_seconds=30_000, realtime_seconds=60.0, faults=faults) as harness,
        harness.client(lanes="batch,realtime", max_active_batches=2, batch_size=3) as client,
    ):
        assert await _answered(client, 20, "2h") == 20
        assert max(_billed(harness).values()) == 1


async def test_a_crowd_of_another_account_does_not_drive_anybody_to_a_dearer_lane() -> None:
    """Accounts take turns, so that nobody waits behind all of another one's calls."""
    async with (
        open_harness(has_lanes=True, **SPEED) as harness,
        harness.client(lanes="flex,realtime", lane_concurrency=4) as client,
        anyio.create_task_group() as nursery,
    ):
        other = client.with_options(api_key="another")
        nursery.start_soon(_answered, other, 600, "20h")
        await anyio.sleep(10)
        with client.deadline("15m"):
            await ask(client, "mine")
        (mine,) = [billed.lane for billed in harness.emulator.ledger() if billed.text == "mine"]
        assert mine == "flex"
        nursery.cancel_scope.cancel()


async def test_a_crowd_with_later_deadlines_does_not_drive_anybody_out_of_the_queue() -> None:
    async with (
        open_harness(has_lanes=True, **SPEED) as harness,
        harness.client(lanes="batch,realtime", max_active_batches=1, lane_concurrency=2) as client,
        anyio.create_task_group() as nursery,
    ):
        nursery.start_soon(_answered, client, 1, "20h")  # takes the only place
        await anyio.sleep(10)
        nursery.start_soon(_answered, client, 1_500, "20h")
        await anyio.sleep(10)
        nursery.start_soon(_answered, client, 1, "2h")
        await anyio.sleep(600)
        assert harness.realtime_calls == 0
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("crowd", "isolates", "place"),
    [
        ({}, False, (0, 32)),
        ({"a": 40}, False, (8, 32)),
        ({"a": 40, "b": 500}, False, (40 + 42 - 32, 32)),
        ({"b": 500}, False, (0, 32)),
        ({"a": 40, "b": 500}, True, (40 - 10, 10)),
        ({"a": 40}, True, (40 - 16, 16)),
    ],
)
def test_others_are_in_front_as_far_as_they_have_their_turn_before(
    crowd: dict[str, int], isolates: bool, place: tuple[int, int]
) -> None:
    counts = Headcount(cast("dict[Any, int]", crowd))
    found = place_behind(counts, cast("Any", "a"), 2, running=counts, concurrency=32, isolates=isolates)
    assert found == place


@pytest.mark.proves("faults", "many batches with one deadline are all too slow")
async def test_a_crowd_that_may_be_cut_off_all_at_once_joins_batches_only_as_far_as_the_next_lane_has_time() -> None:
    """Half of the batches would be in time by public figures. Today none is."""
    speed = {**SPEED, "batch_seconds": 40_000.0, "cancelling_seconds": 600.0}
    async with (
        open_harness(has_lanes=True, **speed) as harness,
        harness.client(lanes="batch,realtime", batch_size=50, poll_interval_seconds=30.0) as client,
    ):
        assert await _answered(client, 1_000, "30m") >= 990
        assert harness.emulator.statistics().batches_created > 0
        assert max(_billed(harness).values()) == 1
