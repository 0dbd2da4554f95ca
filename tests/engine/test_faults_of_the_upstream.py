"""What callers see when the upstream misbehaves, and that nothing is created or billed twice."""

from __future__ import annotations

from typing import Any

import anyio
import openai
import pytest

from autobatcher import (
    BatchEndedError,
    BatchSubmissionError,
    BatchTimeoutError,
    BatchUnreachableError,
)
from autobatcher.emulator import BatchFault, FaultPlan, HttpFault, LineFault
from tests.harness import HTTP, Harness, ask, open_harness, wait_for_event

DAY = 86_400


async def ask_many(harness: Harness, count: int, **settings: object) -> list[str | Exception]:
    """Return the outcomes of `count` concurrent calls, in order."""
    outcomes: list[str | Exception] = [AssertionError("no outcome")] * count
    async with harness.client(**settings) as client:

        async def call(i: int) -> None:
            try:
                outcomes[i] = await ask(client, f"text-{i}.")
            except openai.APIError as error:
                outcomes[i] = error

        async with anyio.create_task_group() as callers:
            for i in range(count):
                callers.start_soon(call, i)
    return outcomes


def check_answers(outcomes: list[str | Exception]) -> None:
    for i, outcome in enumerate(outcomes):
        assert isinstance(outcome, str)
        assert f"text-{i}." in outcome


@pytest.mark.proves("faults", "429/5xx/cut connection/HTML on upload, poll, download; download cut half-way")
@pytest.mark.parametrize(
    "fault",
    [
        HttpFault(operation="files.create", nth=(1,), status=503, body="<html>busy</html>"),
        HttpFault(operation="files.create", nth=(1,), disconnect=True),
        HttpFault(operation="files.create", nth=(1,), lose_answer=True),
        HttpFault(operation="files.create", nth=(1,), status=429, headers={"retry-after": "7"}),
        HttpFault(operation="batches.create", nth=(1,), status=500),
        HttpFault(operation="batches.create", nth=(1,), disconnect=True),
        HttpFault(operation="batches.create", nth=(1,), lose_answer=True),
        HttpFault(operation="batches.create", nth=(1,), status=502, after_processing=True),
        HttpFault(operation="batches.create", nth=(1,), status=200, body="<html>hello</html>", after_processing=True),
        HttpFault(operation="batches.create", nth=(1,), delay_seconds=300, after_processing=True),
        HttpFault(operation="batches.create", nth=(1,), status=429, headers={"retry-after": "60"}),
        HttpFault(operation="batches.retrieve", first=3, status=500),
        HttpFault(operation="batches.retrieve", first=3, disconnect=True),
        HttpFault(operation="batches.retrieve", first=2, status=404),
        HttpFault(operation="batches.retrieve", nth=(1,), status=200, body="<html>hello</html>"),
        HttpFault(operation="files.content", nth=(1,), cut_after_bytes=700),
        HttpFault(operation="files.content", first=2, status=404),
        HttpFault(operation="files.content", nth=(1,), disconnect=True),
    ],
    ids=lambda fault: f"{fault.operation}-{fault.status or ''}{'-cut' if fault.cut_after_bytes else ''}",
)
async def test_passing_trouble_is_not_seen_by_anyone_and_paid_by_no_one(fault: HttpFault) -> None:
    async with open_harness(faults=FaultPlan((fault,))) as harness:
        check_answers(await ask_many(harness, 5))
        statistics = harness.emulator.statistics()
        assert statistics.batches_created == 1
        assert set(statistics.billed.values()) == {1}


@pytest.mark.proves("faults", "unknown statuses, upper case, missing counts, timestamps as text, empty file ids, 201")
@pytest.mark.parametrize(
    "fault",
    [
        LineFault(kind="duplicate"),
        LineFault(kind="unknown_custom_id"),
        LineFault(kind="text_body"),
        BatchFault(crlf=True),
        BatchFault(blank_lines=True),
        BatchFault(hide_counts=True, text_timestamps=True, empty_file_ids=True),
        BatchFault(status_text={"in_progress": "WORKING", "completed": "COMPLETED"}),
    ],
    ids=repr,
)
@pytest.mark.parametrize("like", ["openai", "doubleword"])
async def test_odd_lines_and_odd_batches_are_read_all_the_same(fault: LineFault | BatchFault, like: str) -> None:
    async with open_harness(like, faults=FaultPlan((fault,)), batch_seconds=30) as harness:
        check_answers(await ask_many(harness, 5))
        assert set(harness.emulator.statistics().billed.values()) == {1}


@pytest.mark.parametrize("kind", ["drop", "null_custom_id"])
@pytest.mark.parametrize("like", ["openai", "doubleword"])
async def test_a_line_that_is_nowhere_fails_its_caller_and_no_other(kind: str, like: str) -> None:
    plan = FaultPlan((LineFault(kind=kind, containing="text-1."),))  # type: ignore[arg-type]
    async with open_harness(like, faults=plan) as harness:
        outcomes = await ask_many(harness, 3)
    lost = outcomes[1]
    assert isinstance(lost, BatchEndedError)
    assert lost.status == "completed"
    assert lost.batch_id
    assert lost.custom_id
    assert "neither" in str(lost)
    assert isinstance(outcomes[0], str)
    assert isinstance(outcomes[2], str)


async def test_a_line_cut_at_the_end_of_a_file_fails_its_caller_and_no_other() -> None:
    async with open_harness(faults=FaultPlan((BatchFault(cut_last_line=True),))) as harness:
        outcomes = await ask_many(harness, 4)
    assert sum(isinstance(outcome, BatchEndedError) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 3


@pytest.mark.parametrize("ends", ["expired", "cancelled"])
async def test_a_batch_that_ends_half_done_delivers_the_half_that_was_paid_for(ends: str) -> None:
    plan = FaultPlan((BatchFault(ends=ends, after=0.5),))  # type: ignore[arg-type]
    async with open_harness(faults=plan, batch_seconds=20) as harness:
        outcomes = await ask_many(harness, 6, max_retries=0)
        assert sum(isinstance(outcome, str) for outcome in outcomes) == 3
        failures = [outcome for outcome in outcomes if isinstance(outcome, BatchEndedError)]
        assert len(failures) == 3
        assert len(harness.events_named("batch_terminal")) == 1


@pytest.mark.proves("faults", "a batch failed at validation, without line numbers")
async def test_a_batch_that_fails_validation_tells_its_callers_why() -> None:
    plan = FaultPlan((BatchFault(ends="failed", error_code="model_not_found", error_message="no such model"),))
    async with open_harness(faults=plan) as harness:
        (outcome,) = await ask_many(harness, 1)
    assert isinstance(outcome, BatchEndedError)
    assert outcome.status == "failed"
    assert "no such model" in str(outcome)


async def test_a_wrong_key_raises_the_sdks_own_exception_quickly() -> None:
    async with open_harness(api_key="right") as harness:
        (outcome,) = await ask_many(harness, 1, api_key="wrong")
        assert isinstance(outcome, openai.AuthenticationError)
        assert "could not be submitted" in str(outcome)
        assert harness.emulator.statistics().http_calls["files.create"] == 1
        (failed,) = harness.events_named("batch_submission_failed")
        assert failed["request_count"] == 1
        assert "wrong" not in str(failed)
        assert "wrong" not in repr(outcome.body)


async def test_no_credit_raises_the_status_the_upstream_answered() -> None:
    plan = FaultPlan((HttpFault(operation="batches.create", status=402, body="insufficient balance"),))
    async with open_harness(faults=plan) as harness:
        (outcome,) = await ask_many(harness, 1)
        assert isinstance(outcome, openai.APIStatusError)
        assert outcome.status_code == 402
        assert "insufficient balance" in str(outcome)
        assert harness.emulator.statistics().http_calls["batches.create"] == 1


async def test_an_upstream_that_cannot_be_reached_fails_every_caller_with_an_error_of_its_own() -> None:
    async with open_harness(faults=FaultPlan((HttpFault(refuse=True),))) as harness:
        outcomes = await ask_many(harness, 3)
    assert len({id(outcome) for outcome in outcomes}) == 3
    for outcome in outcomes:
        assert isinstance(outcome, BatchSubmissionError)
        assert isinstance(outcome, openai.APIConnectionError)
        assert outcome.status_code is None
        assert outcome.request.url.path == "/v1/chat/completions"


async def test_where_no_upload_can_have_arrived_none_is_looked_for() -> None:
    """That would be tried again for ten seconds, which closing takes then."""
    calls = list[str]()

    class Unreachable(HTTP.AsyncBaseTransport):  # type: ignore[misc]  # the library is known at run time only
        async def handle_async_request(self, request: Any) -> Any:
            calls.append(f"{request.method} {request.url.path}")
            raise HTTP.ConnectError("All connection attempts failed", request=request)

    async with open_harness() as harness, HTTP.AsyncClient(transport=Unreachable()) as http:
        (outcome,) = await ask_many(harness, 1, http_client=http)
    assert isinstance(outcome, BatchSubmissionError)
    assert set(calls) == {"POST /v1/files"}


async def test_a_creation_that_never_gets_through_leaves_nothing_running() -> None:
    """The creation is processed, its response is lost, and listing batches fails as well."""
    plan = FaultPlan(
        (
            HttpFault(operation="batches.create", lose_answer=True),
            HttpFault(operation="batches.list", first=25, status=500),  # longer than one lookup is retried
        )
    )
    async with open_harness(faults=plan, batch_seconds=500) as harness:
        (outcome,) = await ask_many(harness, 1)
        assert isinstance(outcome, BatchSubmissionError)
        assert harness.emulator.statistics().batches_created == 1
        assert harness.emulator.statistics().running_batch_ids == ()


async def test_a_batch_out_of_reach_is_given_up_after_some_polls() -> None:
    plan = FaultPlan((HttpFault(operation="batches.retrieve", status=404),))
    async with open_harness(faults=plan, batch_seconds=500) as harness:
        (outcome,) = await ask_many(harness, 1)
        assert isinstance(outcome, BatchUnreachableError)
        assert outcome.batch_id == harness.emulator.statistics().batches[0].id
        assert harness.emulator.statistics().running_batch_ids == ()


@pytest.mark.proves("faults", "a batch that never moves; a poll that answers 404 for good")
async def test_a_batch_that_never_ends_times_out_and_is_cancelled_upstream() -> None:
    async with open_harness("doubleword", faults=FaultPlan((BatchFault(ends="stuck"),))) as harness:
        (outcome,) = await ask_many(harness, 1, completion_window="24h", poll_interval_seconds=600)
        assert isinstance(outcome, BatchTimeoutError)
        assert isinstance(outcome, openai.APITimeoutError)
        assert anyio.current_time() > DAY
        assert harness.emulator.statistics().running_batch_ids == ()


async def test_results_that_cannot_be_read_are_a_typed_error() -> None:
    plan = FaultPlan((HttpFault(operation="files.content", status=403),))
    async with open_harness(faults=plan) as harness:
        (outcome,) = await ask_many(harness, 1)
    assert isinstance(outcome, BatchUnreachableError)


async def test_a_cancellation_whose_answer_was_lost_is_not_told_as_failed() -> None:
    plan = FaultPlan((HttpFault(operation="batches.cancel", nth=(1,), lose_answer=True),))
    async with open_harness(faults=plan, batch_seconds=500) as harness:
        async with harness.client() as client:
            with anyio.move_on_after(50):
                await ask(client, "x")
            await wait_for_event(harness, "batch_cancelled_upstream")
        assert harness.events_named("batch_cancel_failed") == []
        assert harness.emulator.statistics().running_batch_ids == ()
