"""Failed lines are told: in one line of the log and one event for each batch and cause."""

from __future__ import annotations

import json
import logging
from typing import Any

import anyio
import pytest

from autobatcher import events
from autobatcher.emulator import BatchFault, FaultPlan, HttpFault, LineFault
from autobatcher.engine.failures import GATHER_SECONDS, MOST_CAUSES
from autobatcher.engine.quotations import masked
from tests.harness import MODEL, Harness, ask, open_harness, outcome_of

PROMPT = "Summarize the file of the patient Jane Roe, who was born in 1970"


def refusal(message: str, code: str | None = None) -> str:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}})


def refused(message: str, code: str | None = None, *, status: int = 400, **fault: Any) -> LineFault:
    return LineFault(kind="fail", status=status, body=refusal(message, code), **fault)


async def ask_many(harness: Harness, count: int, **settings: Any) -> list[Any]:
    outcomes: list[Any] = []

    async def one(number: int) -> None:
        outcomes.append(await outcome_of(ask(client, f"{PROMPT} {number}")))

    async with harness.client(**settings) as client, anyio.create_task_group() as callers:
        for number in range(count):
            callers.start_soon(one, number)
    return outcomes


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.proves("faults", "some lines of a batch are refused, and nobody looks at their callers' errors")
async def test_lines_that_fail_are_told_once_for_each_batch_and_cause(caplog: pytest.LogCaptureFixture) -> None:
    bad = range(11, 171, 10)
    faults = FaultPlan((refused("max_tokens is too large: 9000", "too_large", lines=tuple(bad)),))
    async with open_harness(faults=faults) as harness:
        outcomes = await ask_many(harness, 300)
    assert sum(isinstance(outcome, Exception) for outcome in outcomes) == 16
    (batch,) = harness.events_named("batch_submitted")
    (event,) = harness.events_named("requests_failed")
    assert isinstance(events.parse(event), events.RequestsFailed)
    assert event["request_count"] == len(event["custom_ids"]) == 16
    assert (event["batch_id"], event["lane"]) == (batch["batch_id"], "batch")
    assert (event["endpoint"], event["models"]) == ("/v1/chat/completions", [MODEL])
    assert (event["status"], event["code"]) == (400, "too_large")
    assert event["message"] == "max_tokens is too large: 9000"
    assert warnings(caplog) == [
        f"autobatcher: 16 requests for {MODEL} failed in batch {batch['batch_id']}: "
        "400: max_tokens is too large: 9000 (too_large)"
    ]


async def test_lines_that_are_sent_again_did_not_fail(caplog: pytest.LogCaptureFixture) -> None:
    faults = FaultPlan((refused("busy", status=503, lines=(1, 2), batches=(1,)),))
    async with open_harness(faults=faults) as harness:
        outcomes = await ask_many(harness, 3)
    assert not any(isinstance(outcome, Exception) for outcome in outcomes)
    assert not harness.events_named("requests_failed")
    assert not warnings(caplog)


async def test_reasons_that_differ_in_numbers_are_one_cause_and_many_causes_are_told_as_one() -> None:
    words = [f"{chr(97 + number // 26)}{chr(97 + number % 26)} is odd" for number in range(MOST_CAUSES + 10)]
    alike = [refused(f"{number} tokens are too many", lines=(number,)) for number in (1, 2, 3)]
    apart = [refused(word, lines=(number,)) for number, word in enumerate(words, 4)]
    async with open_harness(faults=FaultPlan((*alike, *apart))) as harness:
        await ask_many(harness, len(alike) + len(apart))
    told = harness.events_named("requests_failed")
    assert len(told) == MOST_CAUSES + 1
    assert sum(event["request_count"] for event in told) == len(alike) + len(apart)
    assert [event["request_count"] for event in told if "tokens" in event["message"]] == [3]


QUOTING: dict[str, FaultPlan] = {
    "a line": FaultPlan((refused(f"Bad input: '{PROMPT} 0'"),)),
    "a line without response": FaultPlan((LineFault(kind="fail", code="bad", message=f"Bad: {PROMPT} 0"),)),
    "the upload": FaultPlan((HttpFault(operation="files.create", status=401, body=refusal(f"Bad: {PROMPT} 2")),)),
    "the creation": FaultPlan((HttpFault(operation="batches.create", status=403, body=refusal(f"Bad: {PROMPT} 2")),)),
    "the batch": FaultPlan((BatchFault(ends="failed", error_message=f"Bad: {PROMPT} 2", error_code="bad"),)),
}


@pytest.mark.parametrize("what", QUOTING)
@pytest.mark.proves("faults", "an upstream's reason quotes a prompt")
async def test_the_reason_is_told_without_what_it_quotes_of_a_prompt(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "autobatcher")
    async with open_harness(faults=QUOTING[what]) as harness:
        outcomes = await ask_many(harness, 3)
    assert all(isinstance(outcome, Exception) and PROMPT in str(outcome) for outcome in outcomes)  # the callers' own
    told = json.dumps(harness.events) + caplog.text
    assert "Jane Roe" not in told
    assert any(
        "Bad" in event["message"] and "***" in event["message"] for event in harness.events_named("requests_failed")
    )
    assert any("Bad" in line and "***" in line for line in warnings(caplog))


async def test_a_refused_upload_is_told_with_the_upstreams_reason(caplog: pytest.LogCaptureFixture) -> None:
    fault = HttpFault(operation="files.create", status=401, body=refusal("invalid api key", "invalid_api_key"))
    async with open_harness(faults=FaultPlan((fault,))) as harness:
        await ask_many(harness, 1)
    (refusal_event,) = harness.events_named("batch_submission_failed")
    assert refusal_event["error"] == "POST /files answered 401: invalid api key"
    (event,) = harness.events_named("requests_failed")
    assert (event["status"], event["code"], event["message"]) == (401, "invalid_api_key", "invalid api key")
    assert (event["request_count"], event["batch_id"], len(event["custom_ids"])) == (1, None, 1)
    assert warnings(caplog) == ["autobatcher: 1 request not submitted: POST /files answered 401: invalid api key"]


async def test_failures_of_calls_outside_of_batches_are_gathered_for_a_moment(caplog: pytest.LogCaptureFixture) -> None:
    fault = HttpFault(operation="realtime", status=400, body=refusal(f"no such thing as {PROMPT}"))
    async with (
        open_harness(has_lanes=True, faults=FaultPlan((fault,))) as harness,
        harness.client(lanes="realtime") as client,
        anyio.create_task_group() as callers,
    ):
        for _ in range(3):
            callers.start_soon(outcome_of, ask(client, PROMPT))
        await anyio.sleep(GATHER_SECONDS / 2)
        assert not harness.events_named("requests_failed")
        await anyio.sleep(GATHER_SECONDS)
        (event,) = harness.events_named("requests_failed")
    assert (event["status"], event["lane"], event["batch_id"]) == (400, "realtime", None)
    assert (event["request_count"], event["message"]) == (3, "no such thing as ***")
    assert len(warnings(caplog)) == 1


def body(*contents: str) -> bytes:
    messages = [{"role": "user", "content": content} for content in contents]
    return json.dumps({"model": "a-model-with-a-long-name", "max_completion_tokens": 5, "messages": messages}).encode()


def test_what_a_reason_says_of_parameters_and_models_is_shown() -> None:
    reason = "Unsupported parameter: 'max_completion_tokens' is not supported with a-model-with-a-long-name"
    assert masked(reason, body(PROMPT)) == reason


def test_quotations_are_masked_however_they_are_written() -> None:
    odd = 'a "quoted" word,\nand a line that is long enough'
    for written in (odd, " ".join(odd.split()), json.dumps(odd), repr(odd)):
        left = masked(f"Bad: {written}.", body("hello", odd))
        assert "***" in left
        assert "quoted" not in left
        assert "line" not in left
    assert masked("No text: 'text', context", body("text")) == "No ***: '***', context"  # a short prompt, as a whole
    assert masked("Bad: " + "\u4f60\u597d" * 20, body("\u4f60\u597d" * 30)) == "Bad: ***"
    assert PROMPT not in masked(f"Bad: {PROMPT}", body("x" * 300_000, PROMPT))
    assert PROMPT not in masked(f"Bad: {PROMPT}", b"{no json " + PROMPT.encode())
