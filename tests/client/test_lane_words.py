"""What users are told about lanes: in warnings at construction, and in errors."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from autobatcher import BatchOpenAI, BatchOpenAISync, BatchTransport, DeadlineMissedError
from autobatcher.emulator import FaultPlan, HttpFault
from tests.harness import Harness, ask, open_harness, outcome_of

pytestmark = pytest.mark.full_price

DOORS: dict[str, Callable[..., Any]] = {
    "async": lambda **settings: BatchOpenAI(api_key="k", **settings),
    "sync": lambda **settings: BatchOpenAISync(api_key="k", **settings),
    "transport": lambda **settings: BatchTransport(**settings),
}
UNKNOWN = "http://localhost:8000/v1"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("settings", [{"lanes": ("batch", "flex")}, {"deadline": "1h"}])
def test_a_client_says_once_that_its_provider_has_no_flex_lane(
    door: str, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    DOORS[door](provider="groq", **settings)
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert '"groq" has no flex lane' in record.message
    assert '"batch" alone' in record.message


def test_nothing_is_said_of_a_flex_lane_that_is_there_or_not_wanted(caplog: pytest.LogCaptureFixture) -> None:
    BatchOpenAI(api_key="k", base_url="https://api.openai.com/v1", lanes=("batch", "flex"), deadline="1h")
    client = BatchOpenAI(api_key="k", base_url=UNKNOWN, lanes=("batch", "realtime"), deadline="1h")
    BatchOpenAI(api_key="k", base_url=UNKNOWN)
    client.with_options(timeout=5)
    BatchOpenAI(api_key="k", base_url=UNKNOWN, lanes=("batch", "flex", "realtime"), deadline="1h")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("lane", ["flex", "realtime"])
async def test_a_missed_deadline_says_whether_a_running_call_may_have_been_billed(lane: str) -> None:
    async with (
        open_harness(has_lanes=True, flex_seconds=5_000, realtime_seconds=5_000) as harness,
        harness.client(lanes=[lane], deadline="10m") as client,
    ):
        error = await _missed(client)
        assert error.may_have_been_billed
        assert "may have been executed and billed" in str(error)
        assert pickle.loads(pickle.dumps(error)).may_have_been_billed
        assert len(harness.emulator.ledger()) == 1


async def test_a_missed_deadline_of_a_call_that_was_refused_to_the_end_says_that_nothing_was_billed() -> None:
    full = FaultPlan((HttpFault(operation="flex", status=429, code="resource_unavailable"),))
    async with (
        open_harness(has_lanes=True, faults=full) as harness,
        harness.client(lanes=["flex"], deadline="10m") as client,
    ):
        error = await _missed(client)
        assert not error.may_have_been_billed
        assert "billed" not in str(error)


async def test_a_missed_deadline_of_a_batch_says_that_it_may_be_billed() -> None:
    async with open_harness(batch_seconds=50_000) as harness, harness.client(lanes=["batch"], deadline="3h") as client:
        error = await _missed(client)
        assert error.batch_id is not None
        assert error.may_have_been_billed
        assert f"batch {error.batch_id}" in str(error)


async def test_a_missed_deadline_of_a_batch_that_may_exist_says_that_it_may_be_billed() -> None:
    lost = HttpFault(operation="batches.create", lose_answer=True)
    faults = FaultPlan((lost, HttpFault(operation="batches.list", status=500)))
    async with (
        open_harness(faults=faults) as harness,
        harness.client(lanes=["batch"], deadline="3h", poll_interval_seconds=60.0) as client,
    ):
        error = await _missed(client)
        assert (error.batch_id, error.may_have_been_billed) == (None, True)


async def test_a_missed_deadline_of_a_call_for_which_there_was_no_room_says_nothing_of_bills() -> None:
    full = FaultPlan((HttpFault(operation="batches.create", status=429, code="token_limit_exceeded"),))
    async with open_harness(faults=full) as harness, harness.client(lanes=["batch"], deadline="3h") as client:
        error = await _missed(client)
        assert not error.may_have_been_billed


async def test_a_missed_deadline_while_a_batch_is_created_says_that_it_may_be_billed() -> None:
    slow = FaultPlan((HttpFault(operation="batches.create", delay_seconds=25.0, after_processing=True),))
    async with open_harness(faults=slow) as harness, harness.client(lanes=["batch"], deadline=10.0) as client:
        error = await _missed(client)
        assert (error.batch_id, error.may_have_been_billed) == (None, True)


async def test_an_error_about_lanes_says_how_to_allow_another_one_at_every_door() -> None:
    """A client of a proxy has no `lanes=`: whoever runs the proxy has a flag."""
    async with open_harness() as harness, harness.client(lanes=["flex"], deadline=1e-6) as client:
        hopeless = str(await outcome_of(ask(client, "a")))
        assert " 0.0 seconds" not in hopeless
        with_no_lane = await _without_a_lane(harness)
    for text in (hopeless, with_no_lane):
        assert "--lanes" in text
        assert "lanes=" not in text


async def _without_a_lane(harness: Harness) -> str:
    upstream = harness.emulator.http_client(library="httpx")
    transport = BatchTransport(http_client=upstream, provider="groq", lanes=["flex"])
    async with httpx.AsyncClient(transport=transport, base_url="http://upstream.test/v1") as http:
        call = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
        return (await http.post("/chat/completions", json=call, headers={"authorization": "Bearer k"})).text


async def _missed(client: BatchOpenAI) -> DeadlineMissedError:
    with anyio.fail_after(100_000):
        outcome = await outcome_of(ask(client, "a"))
    assert isinstance(outcome, DeadlineMissedError), outcome
    return outcome
