"""What the official SDK reads in real time reaches the caller from a batch; results are believed when all agrees."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatcher import BatchEndedError
from autobatcher.emulator import FaultPlan, LineFault
from tests.harness import HTTP, Harness, Send, ask, between, open_harness, outcome_of

COMPLETION = '{"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, %s}]}'
CHOICE = '"finish_reason": "stop", "message": {"role": "assistant", "content": %s}'


def line_of(sent: bytes, body: bytes) -> bytes:
    """A result line with that body, for the first line that was answered."""
    custom_id = json.loads(sent.split(b"\n")[0])["custom_id"]
    return b'{"custom_id": "%s", "response": {"status_code": 200, "body": %s}, "error": null}' % (
        custom_id.encode(),
        body,
    )


def answering(harness: Harness, body: bytes) -> Any:
    """An HTTP client through which every result has that body."""

    async def answer(request: Any, send: Send) -> Any:
        response = await send(request)
        if request.url.path.endswith("/content"):
            await response.aread()
            return HTTP.Response(200, content=line_of(response.content, body) + b"\n")
        return response

    return between(harness, answer)


@pytest.mark.proves("faults", "an answer that strict parsers refuse: half a surrogate pair, NaN, huge numbers")
@pytest.mark.parametrize(
    ("written", "content"),
    [
        (r'"half \ud83d"', "half \ud83d"),
        (r'"whole \ud83d\ude00"', "whole \U0001f600"),
        ('"a\\u0000b"', "a\x00b"),
        ('"a", "logprobs": NaN', "a"),
        ('"a", "extra": [Infinity, -Infinity, 1e999]', "a"),
        (f'"a", "extra": {"1" * 4000}', "a"),
        ('"first", "content": "second"', "second"),
        (f'"a", "extra": {"[" * 300}1{"]" * 300}', "a"),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_an_answer_that_only_tolerant_parsers_read_reaches_its_caller(written: str, content: str) -> None:
    body = (COMPLETION % (CHOICE % written)).encode()
    async with (
        open_harness(batch_seconds=5) as harness,
        harness.client(http_client=answering(harness, body)) as client,
    ):
        completion = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
        assert completion.choices[0].message.content == content
        assert harness.emulator.statistics().batches_created == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=60, derandomize=True)
@given(st.dictionaries(st.text(st.characters(exclude_categories=())), json_values, max_size=4), st.booleans())
async def test_any_body_that_json_loads_takes_reaches_its_caller_to_the_byte(
    fields: dict[str, Any], ascii: bool
) -> None:
    body = json.dumps({"id": "x", **fields}, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    async with (
        open_harness(batch_seconds=1) as harness,
        harness.client(http_client=answering(harness, body)) as client,
    ):
        answer = await client.answer("/v1/chat/completions", b'{"model": "m", "messages": []}')
        assert (answer.status_code, answer.body) == (200, body)
        assert harness.emulator.statistics().batches_created == 1


PAGES = [
    b"<html>one moment, please</html>",
    b'{"error": {"message": "try later"}}',
    b"",
    b"\xff\xfe",
    b"null",
]


@pytest.mark.proves("faults", "a download answers 200 with a page of HTML, an error, an empty or a cut file")
@pytest.mark.parametrize("page", PAGES, ids=repr)
@pytest.mark.parametrize("like", ["openai", "doubleword"])
async def test_a_download_that_is_no_results_file_is_read_again(page: bytes, like: str) -> None:
    reads = 0

    async def answer(request: Any, send: Send) -> Any:
        nonlocal reads
        if request.url.path.endswith("/content"):
            reads += 1
            if reads <= 2:
                return HTTP.Response(200, content=page)
        return await send(request)

    async with open_harness(like, batch_seconds=5) as harness:
        async with harness.client(http_client=between(harness, answer)) as client:
            assert "x" in await ask(client, "x")
        assert harness.emulator.statistics().batches_created == 1


@pytest.mark.parametrize("cut_at", [0.3, 0.9])
async def test_a_file_that_is_cut_short_without_an_error_is_read_again(cut_at: float) -> None:
    reads = 0

    async def answer(request: Any, send: Send) -> Any:
        nonlocal reads
        response = await send(request)
        if request.url.path.endswith("/content"):
            reads += 1
            await response.aread()
            if reads == 1:
                return HTTP.Response(200, content=response.content[: int(len(response.content) * cut_at)])
        return response

    async with open_harness(batch_seconds=5) as harness:
        answers: list[str] = []

        async def one(number: int) -> None:
            answers.append(await ask(client, f"q{number}"))

        async with (
            harness.client(http_client=between(harness, answer)) as client,
            anyio.create_task_group() as nursery,
        ):
            for number in range(5):
                nursery.start_soon(one, number)
        assert len(answers) == 5
        assert harness.emulator.statistics().batches_created == 1


LATE = [
    {"output_file_id": None},
    {"output_file_id": None, "request_counts": {"total": 0, "completed": 0, "failed": 0}},
    {"output_file_id": None, "request_counts": None},
    {"output_file_id": "", "request_counts": {}},
]


@pytest.mark.proves("faults", "a batch is completed before its files or counts are named")
@pytest.mark.parametrize("late", LATE, ids=repr)
@pytest.mark.parametrize("max_retries", [0, 2])
async def test_completed_is_believed_once_files_and_counts_are_named(late: dict[str, Any], max_retries: int) -> None:
    seen_completed = 0

    async def answer(request: Any, send: Send) -> Any:
        nonlocal seen_completed
        response = await send(request)
        if request.method == "GET" and "/batches/" in request.url.path:
            await response.aread()
            batch = response.json()
            if batch["status"] == "completed":
                seen_completed += 1
                if seen_completed <= 3:
                    return HTTP.Response(200, json={**batch, **late})
        return response

    async with open_harness(batch_seconds=5) as harness:
        async with harness.client(http_client=between(harness, answer), max_retries=max_retries) as client:
            assert "x" in await ask(client, "x")
        assert harness.emulator.statistics().batches_created == 1


async def test_a_line_that_is_nowhere_is_told_after_several_readings_and_not_sent_again() -> None:
    plan = FaultPlan((LineFault(kind="drop", lines=(1,)),))
    async with open_harness(faults=plan, batch_seconds=5) as harness, harness.client(max_retries=2) as client:
        outcome = await outcome_of(ask(client, "x"))
        assert isinstance(outcome, BatchEndedError)
        assert harness.emulator.statistics().batches_created == 1
        assert anyio.current_time() > 60


async def test_a_line_that_no_parser_reads_is_in_its_callers_error() -> None:
    async def answer(request: Any, send: Send) -> Any:
        response = await send(request)
        if request.url.path.endswith("/content"):
            await response.aread()
            return HTTP.Response(200, content=response.content.replace(b'"response"', b'"response" paid for', 1))
        return response

    async with (
        open_harness(batch_seconds=5) as harness,
        harness.client(http_client=between(harness, answer), max_retries=2) as client,
    ):
        outcome = await outcome_of(ask(client, "x"))
        assert isinstance(outcome, BatchEndedError)
        assert isinstance(outcome.body, dict)
        assert "paid for" in outcome.body["line"]
        assert harness.emulator.statistics().batches_created == 1


REASONS: list[dict[str, Any]] = [
    {"response": {"status_code": 400, "message": "too long by 12"}, "error": None},
    {"response": {"status_code": 400, "detail": "too long by 12"}},
    {"response": {"status_code": 400, "detail": [{"loc": ["body"], "msg": "too long by 12"}]}},
    {"response": {"status_code": 422, "error": "too long by 12"}},
    {"response": {"status_code": 400, "body": None, "error": {"message": "too long by 12"}}},
    {"response": {"status_code": 400, "body": {"message": "too long by 12"}}},
    {"response": {"status_code": 400}, "message": "too long by 12"},
    {"response": {"status_code": 400}, "error": "too long by 12"},
    {"response": {"status_code": 400}, "error": {"detail": {"reason": "too long by 12"}}},
    {"response": {"status_code": 0}, "error": {"message": "too long by 12"}},
    {"response": {"status_code": 1000, "body": {"error": {"message": "too long by 12"}}}},
    {"response": {"status_code": -5, "body": {"error": "too long by 12"}}},
]


@pytest.mark.proves("faults", "the reason of a failed line stands beside its status, or the status is none")
@pytest.mark.parametrize("line", REASONS, ids=lambda line: json.dumps(line)[:70])
async def test_the_reason_of_a_failed_line_is_in_its_callers_error(line: dict[str, Any]) -> None:
    async def answer(request: Any, send: Send) -> Any:
        response = await send(request)
        if request.url.path.endswith("/content"):
            await response.aread()
            custom_id = json.loads(response.content.split(b"\n")[0])["custom_id"]
            return HTTP.Response(200, content=json.dumps({"custom_id": custom_id, **line}).encode())
        return response

    async with (
        open_harness(batch_seconds=5) as harness,
        harness.client(http_client=between(harness, answer)) as client,
    ):
        outcome = await outcome_of(ask(client, "x"))
        assert isinstance(outcome, Exception)
        assert "too long by 12" in str(outcome)


UPLOADS: list[Any] = [
    {"code": 20000, "status": True, "data": {"id": "ID", "object": "file"}},
    {"result": {"id": "ID"}},
    {"file_id": "ID"},
    {"data": {"file_id": "ID"}},
    {"file": {"id": "ID"}},
]


@pytest.mark.proves("faults", "an upload's reply is wrapped, or names its id otherwise")
@pytest.mark.parametrize("shape", UPLOADS, ids=json.dumps)
async def test_a_wrapped_reply_to_an_upload_is_understood(shape: Any) -> None:
    async def answer(request: Any, send: Send) -> Any:
        response = await send(request)
        if request.method == "POST" and request.url.path.endswith("/files"):
            await response.aread()
            return HTTP.Response(200, text=json.dumps(shape).replace("ID", response.json()["id"]))
        return response

    async with open_harness(batch_seconds=5) as harness:
        async with harness.client(http_client=between(harness, answer)) as client:
            assert "x" in await ask(client, "x")
        assert harness.emulator.statistics().uploads == 1


async def test_an_upload_that_succeeded_with_an_unknown_reply_is_not_repeated_and_the_reply_is_told() -> None:
    uploads = 0

    async def answer(request: Any, send: Send) -> Any:
        nonlocal uploads
        if request.method == "POST" and request.url.path.endswith("/files"):
            uploads += 1
            return HTTP.Response(200, json={"ok": "thank you"})
        return await send(request)

    async with open_harness() as harness, harness.client(http_client=between(harness, answer)) as client:
        outcome = await outcome_of(ask(client, "x"))
        assert "thank you" in str(outcome)
        assert uploads == 1


@pytest.mark.proves("faults", "want of room told as 400 with a code, at upload, creation or for a line")
@pytest.mark.parametrize("status", [400, 403, 413, 429])
@pytest.mark.parametrize("operation", ["/files", "/batches"])
async def test_want_of_room_is_known_by_its_code_whatever_the_status(status: int, operation: str) -> None:
    tries = 0

    async def answer(request: Any, send: Send) -> Any:
        nonlocal tries
        if request.method == "POST" and request.url.path.endswith(operation):
            tries += 1
            if tries <= 2:
                error = {"code": "token_limit_exceeded", "message": "Enqueued tokens: no room."}
                return HTTP.Response(status, json={"error": error})
        return await send(request)

    async with open_harness(batch_seconds=5) as harness:
        async with harness.client(http_client=between(harness, answer)) as client:
            assert "x" in await ask(client, "x")
        assert harness.emulator.statistics().batches_created == 1


@pytest.mark.parametrize(("code", "answers"), [("token_limit_exceeded", True), ("insufficient_quota", False)])
async def test_a_line_that_failed_for_want_of_room_travels_again_and_one_for_want_of_money_does_not(
    code: str, answers: bool
) -> None:
    reads = 0

    async def answer(request: Any, send: Send) -> Any:
        nonlocal reads
        response = await send(request)
        if request.url.path.endswith("/content"):
            reads += 1
            await response.aread()
            if reads == 1:
                custom_id = json.loads(response.content.split(b"\n")[0])["custom_id"]
                status = 400 if answers else 429
                body = {"error": {"code": code, "message": "no"}}
                line = {"custom_id": custom_id, "response": {"status_code": status, "body": body}}
                return HTTP.Response(200, content=json.dumps(line).encode())
        return response

    async with (
        open_harness(batch_seconds=5) as harness,
        harness.client(http_client=between(harness, answer), max_retries=1) as client,
    ):
        outcome = await outcome_of(ask(client, "x"))
        assert isinstance(outcome, str) == answers
        assert harness.emulator.statistics().batches_created == (2 if answers else 1)


@pytest.mark.parametrize(("missing_lines", "batches"), [("fail", 1), ("resubmit", 2)])
async def test_a_missing_line_is_sent_again_only_where_the_user_says_so(missing_lines: str, batches: int) -> None:
    plan = FaultPlan((LineFault(kind="drop", lines=(1,), batches=(1,)),))
    async with (
        open_harness(faults=plan, batch_seconds=5) as harness,
        harness.client(max_retries=2, missing_lines=missing_lines) as client,
    ):
        outcome = await outcome_of(ask(client, "x"))
        assert isinstance(outcome, str) == (missing_lines == "resubmit")
        assert harness.emulator.statistics().batches_created == batches
        assert len(harness.events_named("requests_resubmitted")) == batches - 1


@pytest.mark.proves("faults", "a server that takes minutes to answer an upload")
async def test_an_upload_may_be_silent_for_longer_than_other_calls() -> None:
    patience: dict[str, set[float]] = {}

    async def answer(request: Any, send: Send) -> Any:
        patience.setdefault(request.url.path.rpartition("/")[2], set()).add(request.extensions["timeout"]["read"])
        return await send(request)

    async with open_harness(batch_seconds=5) as harness:
        client = harness.client(http_client=between(harness, answer), upload_timeout_seconds=1234.0)
        async with client:
            await ask(client, "x" * 2_000_000)
    assert min(patience.pop("files")) >= 1236.0
    assert all(seconds == {60.0} for seconds in patience.values())
