"""Deadlines, and the lanes on which they are kept."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from autobatcher import BatchUnreachableError, ClientClosedError, DeadlineMissedError
from autobatcher.emulator import BatchFault, FaultPlan, HttpFault
from tests.harness import ask, open_harness, outcome_of

pytestmark = pytest.mark.full_price


async def test_without_a_deadline_all_is_as_before() -> None:
    async with (
        open_harness(has_lanes=True, batch_seconds=7_200) as harness,
        harness.client(lanes=("batch", "realtime")) as client,
    ):
        assert await ask(client, "hello") == "hello"
        assert harness.realtime_calls == 0


@pytest.mark.proves("faults", "with a deadline: a batch is too slow, stuck or overdue")
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


async def test_a_flex_call_may_be_silent_for_as_long_as_its_provider_holds_it() -> None:
    async with (
        open_harness("doubleword", has_lanes=True, flex_seconds=3_500) as harness,
        harness.client(lanes=["flex"]) as client,
    ):
        assert await ask(client, "hello") == "hello"
        assert [billed.lane for billed in harness.emulator.ledger()] == ["flex"]
    async with (
        open_harness("openai", has_lanes=True, flex_seconds=3_500) as harness,
        harness.client(lanes=["flex"]) as client,
    ):
        begun = anyio.current_time()
        assert isinstance(await outcome_of(ask(client, "hello")), BatchUnreachableError)
        assert anyio.current_time() - begun == pytest.approx(900, abs=60)


async def test_a_call_is_counted_once_whether_it_misses_its_deadline_or_its_caller_leaves_before() -> None:
    async with (
        open_harness(has_lanes=True, batch_seconds=50_000) as harness,
        harness.client(deadline="6h", lanes=["batch"]) as client,
    ):
        assert isinstance(await outcome_of(ask(client, "missed")), DeadlineMissedError)
        with anyio.move_on_after(100):
            await ask(client, "left")
        await anyio.sleep(6 * 3_600)
        assert client._engine.host.batcher is not None
        tally = client._engine.host.batcher.tally
        assert (tally.failed, tally.withdrawn, tally.waiting) == (1, 1, 0)


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


@pytest.mark.proves("faults", "with a deadline: a batch is too slow, stuck or overdue")
async def test_lines_that_a_cancelled_batch_does_not_name_reach_the_next_lane_in_time() -> None:
    async with (
        open_harness("doubleword", has_lanes=True, batch_seconds=50_000, cancelling_seconds=60.0) as harness,
        harness.client(deadline="2h", lanes=("batch", "realtime"), poll_interval_seconds=30.0) as client,
    ):
        assert await ask(client, "hello") == "hello"
        assert [billed.lane for billed in harness.emulator.ledger()] == ["realtime"]


@pytest.mark.proves("faults", "with a deadline: a batch is too slow, stuck or overdue")
async def test_a_batch_that_overruns_its_completion_window_is_left_for_the_next_lane_and_is_no_error() -> None:
    stuck = BatchFault(ends="stuck", after=0.99)
    async with (
        open_harness("doubleword", has_lanes=True, batch_seconds=60, faults=FaultPlan((stuck,))) as harness,
        harness.client(deadline="20h", lanes=("batch", "flex")) as client,
    ):
        assert await ask(client, "hello") == "hello"
        assert harness.events_named("batch_submitted")[0]["completion_window"] == "1h"
        assert [billed.lane for billed in harness.emulator.ledger()] == ["flex"]


async def test_closing_ends_calls_on_other_lanes_at_once_and_tells_their_callers() -> None:
    async with open_harness(has_lanes=True, realtime_seconds=5_000) as harness:
        client = harness.client(lanes=["realtime"], lane_concurrency=2)
        async with anyio.create_task_group() as callers:
            outcomes: list[object] = []

            async def call(text: str) -> None:
                outcomes.append(await outcome_of(ask(client, text)))

            for number in range(5):
                callers.start_soon(call, f"{number}")
            await anyio.sleep(10)
            statistics = client.batch_statistics()
            assert statistics is not None
            assert (statistics.lane_requests, statistics.waiting_requests, statistics.queued_requests) == (5, 5, 0)
            begun = anyio.current_time()
            await client.close()
            assert anyio.current_time() - begun < 1
        assert [type(outcome) for outcome in outcomes] == [ClientClosedError] * 5
        assert harness.realtime_calls == 2  # the others were never sent


async def test_a_client_closes_well_at_any_step_of_a_lane_call() -> None:
    for steps in range(8):
        async with open_harness(has_lanes=True, realtime_seconds=100) as harness:
            async with harness.client(lanes=["realtime"]) as client, anyio.create_task_group() as callers:
                callers.start_soon(outcome_of, ask(client, "x"))
                for _ in range(steps):
                    await checkpoint()
                await client.close()
            statistics = client.batch_statistics()
            assert statistics is not None
            assert statistics.lane_requests == 0


async def test_a_caller_who_leaves_another_lane_withdraws_its_call_alone() -> None:
    for steps in range(8):
        async with open_harness(has_lanes=True, realtime_seconds=100) as harness:
            async with harness.client(lanes=["realtime"]) as client, anyio.create_task_group() as others:
                others.start_soon(ask, client, "stays")
                async with anyio.create_task_group() as leaving:
                    leaving.start_soon(ask, client, "leaves")
                    for _ in range(steps):
                        await checkpoint()
                    leaving.cancel_scope.cancel()
                statistics = client.batch_statistics()
                assert statistics is None or statistics.waiting_requests <= 1
            assert "stays" in [billed.body["messages"][0]["content"] for billed in harness.emulator.ledger()]


@pytest.mark.proves("faults", "the flex lane has no room, or does not exist for the model")
async def test_nobody_calls_again_for_a_caller_who_left_while_there_was_no_capacity() -> None:
    full = FaultPlan((HttpFault(operation="flex", status=429, code="resource_unavailable"),))
    async with open_harness(has_lanes=True, faults=full) as harness, harness.client(lanes=["flex"]) as client:
        with anyio.move_on_after(60):
            await ask(client, "x")
        tried = harness.emulator.statistics().http_calls
        await anyio.sleep(3_600)
        assert harness.emulator.statistics().http_calls == tried
        assert tried


@pytest.mark.parametrize(("lanes", "lane"), [("batch,realtime", "batch"), ("batch,flex,realtime", "flex")])
async def test_a_batch_that_may_be_too_slow_is_tried_where_only_a_dearer_lane_is_left(lanes: str, lane: str) -> None:
    async with (
        open_harness(has_lanes=True, batch_seconds=300) as harness,
        harness.client(lanes=lanes, deadline="30m") as client,
    ):
        assert await ask(client, "hello") == "hello"
        assert [billed.lane for billed in harness.emulator.ledger()] == [lane]


async def test_a_batch_that_was_tried_and_is_too_slow_is_cut_off_in_time_for_the_dearer_lane() -> None:
    async with (
        open_harness(has_lanes=True, batch_seconds=50_000, cancelling_seconds=600, realtime_seconds=30) as harness,
        harness.client(lanes="batch,realtime", deadline="30m") as client,
    ):
        assert await ask(client, "hello") == "hello"
        assert [billed.lane for billed in harness.emulator.ledger()] == ["realtime"]
        assert harness.emulator.statistics().batches_created == 1
