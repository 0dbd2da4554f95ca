"""Deadlines, and the lanes on which they are kept."""

from __future__ import annotations

import anyio
import pytest

from autobatcher import DeadlineMissedError
from autobatcher.emulator import BatchFault, FaultPlan
from tests.harness import ask, open_harness, outcome_of

pytestmark = pytest.mark.full_price


async def test_without_a_deadline_all_is_as_before() -> None:
    async with (
        open_harness(has_lanes=True, batch_seconds=7_200) as harness,
        harness.client(lanes=("batch", "realtime")) as client,
    ):
        assert await ask(client, "hello") == "hello"
        assert harness.realtime_calls == 0


async def test_a_batch_that_is_too_slow_is_cancelled_and_its_lines_go_on() -> None:
    async with (
        open_harness(has_lanes=True, batch_seconds=50_000) as harness,
        harness.client(deadline="6h", lanes=("batch", "realtime")) as client,
    ):
        begun = anyio.current_time()
        assert await ask(client, "hello") == "hello"
        assert anyio.current_time() - begun < 6 * 3_600
        assert [billed.lane for billed in harness.emulator.ledger()] == ["realtime"]
    (escalated,) = harness.events_named("requests_escalated")
    assert (escalated["from_lane"], escalated["to_lane"], escalated["request_count"]) == ("batch", "realtime", 1)


async def test_a_hurried_call_joins_no_batch() -> None:
    async with (
        open_harness(has_lanes=True, batch_seconds=600) as harness,
        harness.client(lanes=("batch", "realtime")) as client,
    ):
        begun = anyio.current_time()
        with client.deadline("5m"):
            assert await ask(client, "hello") == "hello"
        assert anyio.current_time() - begun < 300
        assert harness.emulator.statistics().batches_created == 0


async def test_a_deadline_that_no_lane_keeps_is_missed_and_said() -> None:
    async with (
        open_harness(has_lanes=True, batch_seconds=50_000) as harness,
        harness.client(deadline="6h", lanes=["batch"]) as client,
    ):
        begun = anyio.current_time()
        outcome = await outcome_of(ask(client, "hello"))
        assert isinstance(outcome, DeadlineMissedError)
        assert anyio.current_time() - begun == pytest.approx(6 * 3_600, abs=10)


async def test_the_end_of_a_batch_that_was_cut_off_is_seen_in_time_whatever_the_poll_interval() -> None:
    async with (
        open_harness(has_lanes=True, batch_seconds=50_000, cancelling_seconds=600.0) as harness,
        harness.client(deadline="2h", lanes=("batch", "realtime"), poll_interval_seconds=120.0) as client,
    ):
        assert await ask(client, "hello") == "hello"
        assert [billed.lane for billed in harness.emulator.ledger()] == ["realtime"]


async def test_lines_that_a_cancelled_batch_does_not_name_reach_the_next_lane_in_time() -> None:
    async with (
        open_harness("doubleword", has_lanes=True, batch_seconds=50_000, cancelling_seconds=60.0) as harness,
        harness.client(deadline="2h", lanes=("batch", "realtime"), poll_interval_seconds=30.0) as client,
    ):
        assert await ask(client, "hello") == "hello"
        assert [billed.lane for billed in harness.emulator.ledger()] == ["realtime"]


async def test_a_batch_that_overruns_its_completion_window_is_left_for_the_next_lane_and_is_no_error() -> None:
    stuck = BatchFault(ends="stuck", after=0.99)
    async with (
        open_harness("doubleword", has_lanes=True, batch_seconds=60, faults=FaultPlan((stuck,))) as harness,
        harness.client(deadline="20h", lanes=("batch", "flex")) as client,
    ):
        assert await ask(client, "hello") == "hello"
        assert harness.events_named("batch_submitted")[0]["completion_window"] == "1h"
        assert [billed.lane for billed in harness.emulator.ledger()] == ["flex"]
