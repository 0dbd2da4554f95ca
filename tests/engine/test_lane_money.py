"""Money on lanes: nothing is paid for twice unasked, nothing is lost, and every caller has an outcome."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import anyio
import pytest

from autobatcher import DeadlineMissedError
from autobatcher.emulator import BatchFault, FaultPlan, HttpFault, LineFault
from autobatcher.engine.dispatch.dispatcher import Dispatcher
from autobatcher.engine.dispatch.lane_calls import LaneCalls
from autobatcher.engine.lanes.lane import Lane
from autobatcher.engine.queue.queue import RequestQueue
from autobatcher.engine.request import Answer, Request
from autobatcher.engine.settings import Settings
from autobatcher.engine.shares import Shares
from autobatcher.engine.spending import Spending
from autobatcher.errors import BatchUnreachableError
from autobatcher.upstream.account import Account
from autobatcher.upstream.providers import profile_named
from tests.harness import HTTP, Harness, Send, ask, between, open_harness, outcome_of

pytestmark = pytest.mark.full_price

STUCK = BatchFault(ends="stuck", after=0.5)
HURRIED: dict[str, Any] = {"deadline": "6h", "lanes": ("batch", "realtime")}


# ---- a batch that is cut off ----


@pytest.mark.proves("faults", "with a deadline: a batch that was cut off does not end, refuses that, or hides results")
async def test_a_batch_that_refuses_its_cancellation_is_waited_for() -> None:
    refusing = HttpFault(operation="batches.cancel", status=403)
    async with (
        open_harness(has_lanes=True, batch_seconds=40_000, faults=FaultPlan((refusing,))) as harness,
        harness.client(on_missed="wait", **HURRIED) as client,
    ):
        assert await ask(client, "a") == "a"
        assert _billed(harness) == {"a": 1}


async def test_a_batch_that_overruns_its_completion_window_gives_its_lines_to_the_next_lane() -> None:
    async with (
        open_harness("doubleword", has_lanes=True, batch_seconds=50_000) as harness,
        harness.client(deadline="6h", lanes=("batch", "realtime"), deadline_slack_seconds=600.0) as client,
    ):
        assert await ask(client, "a") == "a"
        assert _billed(harness) == {"a": 1}
    (event,) = harness.events_named("requests_escalated")
    assert event["from_lane"] == "batch"


@pytest.mark.proves("faults", "with a deadline: a batch that was cut off does not end, refuses that, or hides results")
async def test_lines_that_nobody_can_account_for_go_on_for_those_who_would_rather_pay_twice() -> None:
    faults = FaultPlan((STUCK, LineFault(kind="drop", lines=(1, 2), billed=True)))
    async with (
        open_harness(has_lanes=True, batch_seconds=600, faults=faults) as harness,
        harness.client(on_overrun="pay_twice", **HURRIED) as client,
        anyio.create_task_group() as nursery,
    ):
        for text in ("a", "b"):
            nursery.start_soon(_expect, client, text)
    assert any(event["paid_twice"] for event in harness.events_named("requests_escalated"))


@pytest.mark.proves("faults", "with a deadline: a batch that was cut off does not end, refuses that, or hides results")
async def test_a_line_that_was_paid_for_and_is_nowhere_is_not_sent_to_the_next_lane() -> None:
    """The line that was not executed is named in the error file. It must not pass for the one that was."""
    faults = FaultPlan((STUCK, LineFault(kind="drop", lines=(1, 2), billed=True)))
    async with (
        open_harness(has_lanes=True, batch_seconds=600, faults=faults) as harness,
        harness.client(**HURRIED) as client,
        anyio.create_task_group() as nursery,
    ):
        for text in ("a", "b"):
            nursery.start_soon(outcome_of, ask(client, text))
    assert max(_billed(harness).values()) == 1


@pytest.mark.parametrize("batch_seconds", [600, 40_000])
async def test_lines_whose_results_cannot_be_read_in_time_go_on_for_those_who_would_rather_pay_twice(
    batch_seconds: int,
) -> None:
    """Whether the batch ended by itself or was cut off."""
    unreadable = HttpFault(operation="files.content", status=500)
    async with (
        open_harness(has_lanes=True, batch_seconds=batch_seconds, faults=FaultPlan((unreadable,))) as harness,
        harness.client(on_overrun="pay_twice", **HURRIED) as client,
    ):
        assert await ask(client, "a") == "a"
    assert any(event["paid_twice"] for event in harness.events_named("requests_escalated"))


async def test_lines_of_a_batch_that_may_exist_go_on_for_those_who_would_rather_pay_twice() -> None:
    lost = HttpFault(operation="batches.create", lose_answer=True)
    faults = FaultPlan((lost, HttpFault(operation="batches.list", status=500)))
    async with (
        open_harness(has_lanes=True, batch_seconds=600, faults=faults) as harness,
        harness.client(on_overrun="pay_twice", **HURRIED) as client,
    ):
        assert await ask(client, "a") == "a"
    assert [event["paid_twice"] for event in harness.events_named("requests_escalated")] == [True]


# ---- calls ----


@pytest.mark.proves("faults", "the answer to a flex or real-time call is no JSON, or too large")
async def test_an_answer_that_is_no_json_is_an_error_and_is_not_asked_for_again() -> None:
    calls = 0

    async def answer(request: Any, send: Send) -> Any:
        nonlocal calls
        calls += 1
        return HTTP.Response(200, content=b"<html>hello</html>")

    async with open_harness(has_lanes=True) as harness:
        http_client = between(harness, answer)
        async with harness.client(http_client=http_client, lanes=("realtime",), on_overrun="pay_twice") as client:
            outcome = await outcome_of(ask(client, "a"))
    assert isinstance(outcome, BatchUnreachableError)
    assert "no JSON" in str(outcome)
    assert calls == 1


@pytest.mark.proves("faults", "the answer to a flex or real-time call is no JSON, or too large")
async def test_an_answer_that_is_too_large_is_an_error_and_is_not_asked_for_again() -> None:
    async with (
        open_harness(has_lanes=True) as harness,
        harness.client(lanes=("realtime",), on_overrun="pay_twice", max_answer_bytes=2_000) as client,
    ):
        outcome = await outcome_of(ask(client, "a" * 3_000))
    assert isinstance(outcome, BatchUnreachableError)
    assert sum(_billed(harness).values()) == 1


@pytest.mark.proves("faults", "a flex or real-time call is cut off, or a gateway loses its answer")
@pytest.mark.parametrize("status", [502, 504, 524])
async def test_a_gateway_that_lost_the_answer_does_not_make_anybody_pay_twice(status: int) -> None:
    faults = FaultPlan((HttpFault(operation="realtime", first=1, status=status, after_processing=True),))
    async with (
        open_harness(has_lanes=True, faults=faults) as harness,
        harness.client(lanes=("realtime",)) as client,
    ):
        assert isinstance(await outcome_of(ask(client, "a")), BatchUnreachableError)
        assert _billed(harness) == {"a": 1}


@pytest.mark.proves("faults", "a flex or real-time call is cut off, or a gateway loses its answer")
async def test_who_would_rather_pay_twice_does_not_pay_three_times() -> None:
    faults = FaultPlan((HttpFault(operation="realtime", lose_answer=True),))
    async with (
        open_harness(has_lanes=True, faults=faults) as harness,
        harness.client(lanes=("realtime",), on_overrun="pay_twice") as client,
    ):
        outcome = await outcome_of(ask(client, "a"))
        assert isinstance(outcome, BatchUnreachableError)
        assert "pay_twice" not in str(outcome)
        assert _billed(harness) == {"a": 2}
    assert [event["paid_twice"] for event in harness.events_named("requests_escalated")] == [True]


@pytest.mark.proves("faults", "the flex lane has no room, or does not exist for the model")
async def test_a_model_without_a_flex_tier_goes_on_to_the_next_lane() -> None:
    refused = HttpFault(operation="flex", status=400, message="Flex is not available for this model.")
    async with (
        open_harness(has_lanes=True, faults=FaultPlan((refused,))) as harness,
        harness.client(lanes=("flex", "realtime")) as client,
    ):
        assert await ask(client, "a") == "a"
    (event,) = harness.events_named("requests_escalated")
    assert (event["from_lane"], event["to_lane"]) == ("flex", "realtime")


async def test_a_slow_flex_call_is_cut_off_for_who_would_rather_pay_twice() -> None:
    async with (
        open_harness(has_lanes=True, flex_seconds=5_000.0) as harness,
        harness.client(lanes=("flex", "realtime"), deadline=600.0, on_overrun="pay_twice") as client,
    ):
        begun = anyio.current_time()
        assert await ask(client, "a") == "a"
        assert anyio.current_time() - begun < 600


async def test_a_caller_who_leaves_before_its_call_began_does_not_end_the_engine() -> None:
    async def call(request: Request, lane: Lane) -> Answer:
        raise AssertionError("it was withdrawn")

    calls = LaneCalls(call, lambda: None, lambda request: None)
    request = _a_request()
    async with anyio.create_task_group() as nursery:
        calls.add(request, Lane.REALTIME)
        calls.start(nursery)
        request.withdraw()
    assert len(calls) == 0


async def test_a_caller_who_waits_for_room_in_the_queue_is_told_at_his_deadline() -> None:
    async with (
        open_harness(has_lanes=True, batch_seconds=100_000) as harness,
        harness.client(lanes=("batch",), max_queued_bytes=100, batch_window_seconds=90_000.0) as client,
        anyio.create_task_group() as nursery,
    ):
        nursery.start_soon(outcome_of, ask(client, "a"))
        await anyio.sleep(1)
        begun = anyio.current_time()
        with client.deadline("6h"):
            assert isinstance(await outcome_of(ask(client, "b")), DeadlineMissedError)
        assert anyio.current_time() - begun == pytest.approx(6 * 3_600, abs=10)
        nursery.cancel_scope.cancel()


async def _expect(client: Any, text: str) -> None:
    assert await ask(client, text) == text


def _billed(harness: Harness) -> Counter[str]:
    return Counter(each.text for each in harness.emulator.ledger())


async def test_requests_that_come_back_too_late_for_another_batch_go_on_to_the_next_lane() -> None:
    settings = Settings(lanes=("batch", "realtime"), deadline=6 * 3_600.0)
    queue = RequestQueue(settings, lambda: None)
    dispatcher = Dispatcher(
        settings,
        cast("Any", None),
        queue,
        Spending(settings),
        emit=lambda *_, **__: None,
        wake=lambda: None,
        log_for=cast("Any", None),
    )
    request = _a_request()
    dispatcher.check(request)
    dispatcher.place(request)
    await anyio.sleep(5 * 3_600)
    (batch,) = queue.due(Shares(10))
    await anyio.sleep_until(dispatcher.latest_start(batch) + 1)  # its creation takes so long
    dispatcher.look()
    queue.throttle(batch, "its key", sent=1, retry_after=0.0)
    dispatcher.watch_all(batch)
    dispatcher.look()
    assert (len(queue), len(dispatcher)) == (0, 1)


def _a_request() -> Request:
    account = Account(base_url="http://upstream.test/v1", api_key="k", provider=profile_named("openai"))
    return Request(account=account, endpoint="/v1/chat/completions", body=b"{}", model="m")
