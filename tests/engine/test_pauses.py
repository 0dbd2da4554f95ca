"""Patience counts from the first failure in a row. A pause of the process does not use it up."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from autobatcher import BatchUnreachableError
from autobatcher.emulator import FaultPlan, HttpFault
from tests.harness import HTTP, Send, ask, between, open_harness, outcome_of, pause_process

DAY = 86_400.0


def calls(harness: Any, operation: str) -> int:
    count: int = harness.emulator.statistics().http_calls.get(operation, 0)
    return count


async def wait_for_calls(harness: Any, operation: str, count: int) -> None:
    with anyio.fail_after(10_000):
        while calls(harness, operation) < count:  # noqa: ASYNC110  (the emulator has no event for a call)
            await anyio.sleep(0.25)


PAUSES = [
    ("batches.retrieve", {"status": 403}, 700.0),
    ("batches.retrieve", {"status": 404}, 5000.0),
    ("batches.retrieve", {"disconnect": True}, 1.1 * DAY),
    ("batches.retrieve", {"status": 503}, 1.1 * DAY),
]


@pytest.mark.proves("faults", "the process is paused (SIGSTOP, sleep) while a batch runs, and the first calls fail")
@pytest.mark.parametrize(("operation", "fault", "seconds"), PAUSES)
@pytest.mark.parametrize("refused", [1, 3])
@pytest.mark.parametrize("like", ["openai", "doubleword"])
async def test_polls_that_fail_after_a_pause_lose_no_answer(
    operation: str, fault: dict[str, Any], seconds: float, refused: int, like: str
) -> None:
    plan = FaultPlan(tuple(HttpFault(operation=operation, nth=(3 + n,), **fault) for n in range(refused)))
    settings: dict[str, Any] = {"deadline_slack_seconds": 10 * DAY}
    async with open_harness(like, faults=plan, batch_seconds=60.0) as harness, harness.client(**settings) as client:
        async with anyio.create_task_group() as nursery:
            outcomes: list[Any] = []

            async def one() -> None:
                outcomes.append(await outcome_of(ask(client, "x")))

            nursery.start_soon(one)
            await wait_for_calls(harness, "batches.retrieve", 2)
            pause_process(seconds)
        assert outcomes == ["x"]


@pytest.mark.parametrize("status", [403, 404])
async def test_a_pause_between_two_refused_polls_is_no_time_of_refusals(status: int) -> None:
    plan = FaultPlan((HttpFault(operation="batches.retrieve", nth=(2, 3, 4), status=status),))
    async with open_harness(faults=plan, batch_seconds=60.0) as harness, harness.client() as client:
        async with anyio.create_task_group() as nursery:
            outcomes: list[Any] = []

            async def one() -> None:
                outcomes.append(await outcome_of(ask(client, "x")))

            nursery.start_soon(one)
            await wait_for_calls(harness, "batches.retrieve", 2)
            pause_process(2000)
        assert outcomes == ["x"]


async def test_a_pause_while_results_are_refused_loses_no_answer() -> None:
    plan = FaultPlan((HttpFault(operation="files.content", first=3, status=403),))
    async with open_harness(faults=plan, batch_seconds=5.0) as harness, harness.client() as client:
        async with anyio.create_task_group() as nursery:
            outcomes: list[Any] = []

            async def one() -> None:
                outcomes.append(await outcome_of(ask(client, "x")))

            nursery.start_soon(one)
            await wait_for_calls(harness, "files.content", 1)
            pause_process(2000)
        assert outcomes == ["x"]


async def test_a_batch_that_ended_while_the_process_slept_past_its_deadline_is_read() -> None:
    async with open_harness(batch_seconds=60.0) as harness, harness.client() as client:
        async with anyio.create_task_group() as nursery:
            outcomes: list[Any] = []

            async def one() -> None:
                outcomes.append(await outcome_of(ask(client, "x")))

            nursery.start_soon(one)
            await wait_for_calls(harness, "batches.retrieve", 2)
            pause_process(3 * DAY)
        assert outcomes == ["x"]


@pytest.mark.parametrize("fault", [{"status": 403}, {"disconnect": True}, {"status": 503}])
async def test_one_failing_look_after_the_deadline_is_not_the_last(fault: dict[str, Any]) -> None:
    plan = FaultPlan((HttpFault(operation="batches.retrieve", nth=(3,), **fault),))
    async with open_harness(faults=plan, batch_seconds=60.0) as harness, harness.client() as client:
        async with anyio.create_task_group() as nursery:
            outcomes: list[Any] = []

            async def one() -> None:
                outcomes.append(await outcome_of(ask(client, "x")))

            nursery.start_soon(one)
            await wait_for_calls(harness, "batches.retrieve", 2)
            pause_process(3 * DAY)
        assert outcomes == ["x"]


async def test_a_batch_that_ends_at_its_deadline_is_read_although_its_files_are_refused_for_a_while() -> None:
    plan = FaultPlan((HttpFault(operation="files.content", first=8, status=503),))
    settings: dict[str, Any] = {"poll_interval_seconds": 5.0, "deadline_slack_seconds": 0.0}
    async with (
        open_harness(faults=plan, batch_seconds=DAY - 40.0) as harness,
        harness.client(**settings) as client,
    ):
        assert "x" in await ask(client, "x")


@pytest.mark.parametrize("poll_interval", [1.0, 180.0, 3600.0])
async def test_lasting_refusals_are_believed_after_several_of_them_and_ten_minutes(poll_interval: float) -> None:
    asked_at: list[float] = []

    async def refused(request: Any, send: Send) -> Any:
        if request.method == "GET" and "/batches/" in request.url.path:
            asked_at.append(anyio.current_time())
            return HTTP.Response(403, json={"error": {"message": "no"}})
        return await send(request)

    async with (
        open_harness(batch_seconds=1e6) as harness,
        harness.client(http_client=between(harness, refused), poll_interval_seconds=poll_interval) as client,
    ):
        outcome = await outcome_of(ask(client, "x"))
        assert isinstance(outcome, BatchUnreachableError)
        told_at = anyio.current_time()
    looks = [moment for moment in asked_at if moment <= told_at]
    assert len(looks) >= 5
    assert looks[-1] - looks[0] >= 600


@pytest.mark.parametrize("status", [401, 403, 404, 503])
async def test_lookups_of_a_lost_creation_that_fail_at_first_create_no_second_batch(status: int) -> None:
    plan = FaultPlan(
        (
            HttpFault(operation="batches.create", nth=(1,), lose_answer=True),
            HttpFault(operation="batches.list", first=3, status=status),
        )
    )
    async with open_harness(faults=plan, batch_seconds=50) as harness, harness.client() as client:
        assert "x" in await ask(client, "x")
        assert harness.emulator.statistics().batches_created == 1


@pytest.mark.parametrize("operation", ["files.create", "batches.create"])
async def test_a_pause_between_two_tries_uses_up_no_patience(operation: str) -> None:
    plan = FaultPlan((HttpFault(operation=operation, first=3, status=503),))
    async with open_harness(faults=plan, batch_seconds=5) as harness, harness.client() as client:
        async with anyio.create_task_group() as nursery:
            outcomes: list[Any] = []

            async def one() -> None:
                outcomes.append(await outcome_of(ask(client, "x")))

            nursery.start_soon(one)
            await wait_for_calls(harness, operation, 1)
            pause_process(5000)
        assert outcomes == ["x"]
