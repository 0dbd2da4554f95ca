"""Found in a review: quota errors, wrong lines rejected, files deleted too early."""

from __future__ import annotations

import json
from typing import Any

import anyio
import openai
import pytest

from autobatcher.emulator import BatchFault, FaultPlan, HttpFault, LineFault
from autobatcher.upstream.failures import status_error
from tests.engine.test_faults_of_the_upstream import ask_many, check_answers
from tests.harness import HTTP, MODEL, Send, ask, between, open_harness, outcome_of, wait_for_event

HOUR = 3600.0


# ---- quota errors ----


@pytest.mark.parametrize(
    "fault",
    [
        BatchFault(ends="failed", error_code="token_limit_exceeded"),
        HttpFault(operation="batches.create", status=429, headers={"retry-after": "30"}),
    ],
    ids=["failed", "429"],
)
async def test_a_long_want_of_room_is_not_hammered_at(fault: Any) -> None:
    async with open_harness(faults=FaultPlan((fault,))) as harness, harness.client() as client:
        with anyio.move_on_after(HOUR):
            await ask(client, "x")
        statistics = harness.emulator.statistics()
        assert statistics.uploads < 30
        assert statistics.http_calls["batches.create"] < 150


async def test_one_request_larger_than_the_quota_holds_up_no_smaller_ones() -> None:
    """The emulator's quota counts lines, so a quota of bytes is simulated here."""

    async def answer(request: Any, send: Send) -> Any:
        if request.method == "POST" and request.url.path.endswith("/files"):
            content = await request.aread()
            if b"BIG" in content:
                return HTTP.Response(429, json={"error": {"message": "too much", "code": "tokens"}})
            request = HTTP.Request("POST", request.url, headers=request.headers, content=content)
        return await send(request)

    async with open_harness() as harness, harness.client(http_client=between(harness, answer)) as client:
        answers: list[str] = []

        async def call(text: str) -> None:
            answers.append(await ask(client, text))

        with anyio.move_on_after(5 * HOUR):
            async with anyio.create_task_group() as callers:
                for text in ("BIG", *(f"small {i}" for i in range(10))):
                    callers.start_soon(call, text)
        assert sorted(answers) == [f"small {i}" for i in range(10)]


async def test_a_kind_that_was_short_of_room_once_is_not_slowed_down_for_good() -> None:
    plan = FaultPlan((BatchFault(nth=(1,), ends="failed", error_code="token_limit_exceeded"),))
    async with open_harness(faults=plan) as harness, harness.client(batch_size=10) as client:
        for _ in range(6):  # until the back-off has ended
            async with anyio.create_task_group() as callers:
                for i in range(10):
                    callers.start_soon(ask, client, str(i))
        begun = anyio.current_time()
        for _ in range(5):
            await ask(client, "x")
        assert anyio.current_time() - begun < 5 * 10


@pytest.mark.parametrize("retry_after", ["86400", "1e9", "inf", "nan"])
def test_a_retry_after_beyond_reason_is_bounded(retry_after: str) -> None:
    from autobatcher.engine.queue.backoff import MAX_DELAY_SECONDS, Backoff

    error = status_error("POST /batches", 429, b"busy", {"retry-after": retry_after})
    backoff = Backoff()
    backoff.throttled(10, now=0, retry_after=error.retry_after or 0.0)
    assert backoff.ready_at <= MAX_DELAY_SECONDS


async def test_an_ordinary_rate_limit_that_mentions_billing_is_waited_for() -> None:
    text = "Rate limit reached. Try again in 20s. Visit https://platform.openai.com/account/billing to add a card."
    body = json.dumps({"error": {"message": text, "type": "requests", "code": "rate_limit_exceeded"}})
    plan = FaultPlan(
        tuple(
            HttpFault(operation=operation, nth=(1,), status=429, body=body)
            for operation in ("files.create", "batches.create")
        )
    )
    async with open_harness(faults=plan) as harness:
        check_answers(await ask_many(harness, 3))


async def test_what_older_batches_say_does_not_undo_a_refusal() -> None:
    plan = FaultPlan((BatchFault(nth=(2,), ends="failed", error_code="token_limit_exceeded"),))
    async with (
        open_harness("openai", faults=plan, batch_seconds=2000) as harness,
        harness.client(batch_size=20) as client,
    ):
        async with anyio.create_task_group() as callers:
            for _ in range(2):
                for i in range(20):
                    callers.start_soon(ask, client, str(i))
                await wait_for_event(harness, "batch_progress")  # the older batch runs and keeps reporting progress
        sizes = [len(batch.custom_ids) for batch in harness.emulator.statistics().batches]
        assert sizes[0] == 20
        assert max(sizes[2:]) <= 15


async def test_giving_up_for_want_of_room_names_the_batch_and_is_told() -> None:
    plan = FaultPlan((BatchFault(ends="failed", error_code="token_limit_exceeded"),))
    async with open_harness(faults=plan) as harness:
        (outcome,) = await ask_many(harness, 1, completion_window="24h", deadline_slack_seconds=0)
        assert isinstance(outcome, openai.APIError)
        assert outcome.batch_id in str(outcome)  # type: ignore[attr-defined]
        assert len(harness.events_named("batch_submission_failed")) == 1


async def test_a_file_that_is_too_large_for_an_unknown_server_is_halved() -> None:
    async def answer(request: Any, send: Send) -> Any:
        if request.method == "POST" and request.url.path.endswith("/files"):
            content = await request.aread()
            if content.count(b"custom_id") > 3:
                return HTTP.Response(413, text="too large")
            request = HTTP.Request("POST", request.url, headers=request.headers, content=content)
        return await send(request)

    async with open_harness() as harness:
        check_answers(await ask_many(harness, 10, http_client=between(harness, answer)))


# ---- rejected lines ----


@pytest.mark.parametrize(
    ("operation", "status", "text"),
    [
        ("batches.create", 422, "Failed to deserialize the JSON body: missing field at line 1 column 97"),
        ("files.create", 422, "Could not retrieve image 'https://x.test/assembly line 4/a.png'"),
        ("files.create", 403, "Model 'production Line 2: x' is not accessible"),
    ],
)
async def test_a_number_in_some_text_blames_nobody(operation: str, status: int, text: str) -> None:
    plan = FaultPlan((HttpFault(operation=operation, status=status, body=text),))
    async with open_harness("doubleword", faults=plan) as harness:
        outcomes = await ask_many(harness, 5)
        assert {getattr(outcome, "status_code", None) for outcome in outcomes} == {status}
        halvings = 8 if operation == "files.create" and status == 422 else 0  # until every line was refused alone
        assert harness.emulator.statistics().http_calls["files.create"] == 1 + halvings


async def test_many_bad_lines_named_one_at_a_time_cost_uploads_that_get_smaller() -> None:
    sent = 0

    async def answer(request: Any, send: Send) -> Any:
        nonlocal sent
        if request.method == "POST" and request.url.path.endswith("/files"):
            content = await request.aread()
            sent += content.count(b"custom_id")
            request = HTTP.Request("POST", request.url, headers=request.headers, content=content)
        return await send(request)

    plan = FaultPlan((LineFault(kind="refuse"),))
    async with open_harness("doubleword", faults=plan) as harness:
        outcomes = await ask_many(harness, 128, http_client=between(harness, answer))
        assert all(isinstance(outcome, openai.BadRequestError) for outcome in outcomes)
        assert sent < 128 * 10  # n log n, and not n²/2


@pytest.mark.parametrize("like", ["openai", "doubleword"])
async def test_the_right_line_is_blamed_when_callers_before_it_have_left(like: str) -> None:
    plan = FaultPlan((LineFault(kind="refuse", containing="bad"),))
    async with open_harness(like, faults=plan) as harness, harness.client(batch_window_seconds=20) as client:
        outcomes: dict[str, Any] = {}

        async def call(text: str) -> None:
            outcomes[text] = await outcome_of(ask(client, text))

        async with anyio.create_task_group() as stayers, anyio.create_task_group() as goers:
            goers.start_soon(call, "gone")
            await anyio.wait_all_tasks_blocked()
            for text in ("good", "bad", "fine"):
                stayers.start_soon(call, text)
                await anyio.wait_all_tasks_blocked()
            goers.cancel_scope.cancel()
        assert isinstance(outcomes["bad"], openai.BadRequestError)
        assert (outcomes["good"], outcomes["fine"]) == ("good", "fine")


# ---- files and events ----


async def test_a_429_whose_lookup_fails_is_not_followed_by_a_second_creation() -> None:
    plan = FaultPlan(
        (
            HttpFault(operation="batches.create", nth=(1,), status=429, after_processing=True),
            HttpFault(operation="batches.list", first=3, status=503),
        )
    )
    async with open_harness(faults=plan) as harness:
        check_answers(await ask_many(harness, 3))
        assert harness.emulator.statistics().batches_created == 1
        assert set(harness.emulator.statistics().billed.values()) == {1}


@pytest.mark.parametrize(
    "faults",
    [
        (
            HttpFault(operation="batches.create", lose_answer=True),
            HttpFault(operation="batches.list", status=403),
        ),
        (HttpFault(operation="batches.cancel", status=403),),
    ],
    ids=["unseen", "cancel refused"],
)
async def test_the_file_of_a_batch_that_may_run_on_is_left_to_it(faults: tuple[HttpFault, ...]) -> None:
    async with open_harness(faults=FaultPlan(faults), batch_seconds=50_000) as harness:
        async with harness.client() as client:
            with anyio.move_on_after(500):
                await outcome_of(ask(client, "x"))
        assert len(harness.emulator.statistics().running_batch_ids) == 1
        assert len(harness.emulator.statistics().input_file_ids) == 1
        assert harness.events_named("batch_cancel_failed")


async def test_strays_are_found_among_many_files_and_those_of_others_are_left_alone() -> None:
    plan = FaultPlan((HttpFault(operation="files.create", nth=(1,), lose_answer=True),))
    async with open_harness(faults=plan, batch_seconds=30) as harness, harness.client() as client:
        async with anyio.create_task_group() as callers:
            callers.start_soon(ask, client, "x")
            await wait_for_event(harness, "batch_submitted")
            others = [
                (await client.files.create(file=(f"autobatcher-{i}.jsonl", b"{}\n"), purpose="batch")).id
                for i in range(120)
            ]
        await anyio.sleep(60)
        assert sorted(harness.emulator.statistics().input_file_ids) == sorted(others)


async def test_events_about_requests_that_go_on_quote_no_server() -> None:
    plan = FaultPlan((BatchFault(nth=(1,), ends="failed", error_code="no capacity for SECRET"),))
    async with open_harness(faults=plan) as harness:
        check_answers(await ask_many(harness, 2))
        assert harness.events_named("requests_resubmitted")
        assert "SECRET" not in json.dumps(harness.events)


async def test_a_caller_who_leaves_a_window_releases_the_byte_limiter() -> None:
    async with open_harness() as harness, harness.client(batch_window_seconds=50, max_queued_bytes=300) as client:
        for _ in range(5):
            with anyio.move_on_after(1):
                await ask(client, "x" * 150)
        begun = anyio.current_time()
        assert await ask(client, "y" * 150)
        assert anyio.current_time() - begun < 60
        assert client.batch_statistics().waiting_requests == 0  # type: ignore[union-attr]


async def test_retrying_uploads_of_one_account_hold_up_no_other() -> None:
    async def answer(request: Any, send: Send) -> Any:
        if request.headers["authorization"] == "Bearer bad" and request.url.path.endswith("/files"):
            return HTTP.Response(503, text="busy")
        return await send(request)

    async with open_harness() as harness, harness.client(http_client=between(harness, answer), batch_size=1) as client:
        bad = client.with_options(api_key="bad")
        async with anyio.create_task_group() as callers:
            for i in range(8):
                callers.start_soon(outcome_of, ask(bad, str(i)))
            await anyio.sleep(30)
            begun = anyio.current_time()
            assert await client.embeddings.create(model=MODEL, input="x")
            assert anyio.current_time() - begun < 30
            callers.cancel_scope.cancel()


async def test_a_batch_whose_file_cannot_be_deleted_holds_up_no_other() -> None:
    plan = FaultPlan((HttpFault(operation="files.delete", status=503),))
    async with open_harness(faults=plan) as harness:
        begun = anyio.current_time()
        check_answers(await ask_many(harness, 5, batch_size=1, max_active_batches=1))
        assert anyio.current_time() - begun < 60


# ---- an upload that is refused because of a line that nobody names ----


def refusing_uploads(harness: Any, *bad: str, status: int = 400) -> Any:
    """An HTTP client whose upstream refuses input files that hold one of these texts, and names no line."""

    async def answer(request: Any, send: Send) -> Any:
        if request.method == "POST" and request.url.path.endswith("/files"):
            sent = await request.aread()
            if any(f'"{text}"'.encode() in sent for text in bad):
                return HTTP.Response(status, json={"error": {"message": "The file is not valid.", "code": None}})
        return await send(request)

    return between(harness, answer)


@pytest.mark.proves("faults", "an upload is refused because of one line, which nobody names")
@pytest.mark.parametrize("count", [2, 3, 100])
@pytest.mark.parametrize("status", [400, 422])
async def test_one_bad_line_that_nobody_names_fails_only_its_caller(count: int, status: int) -> None:
    async with open_harness(batch_seconds=5) as harness:
        outcomes: list[Any] = []
        http_client = refusing_uploads(harness, "q1", status=status)
        async with (
            harness.client(http_client=http_client, max_retries=0) as client,
            anyio.create_task_group() as nursery,
        ):

            async def one(number: int) -> None:
                outcomes.append(await outcome_of(ask(client, f"q{number}")))

            for number in range(count):
                nursery.start_soon(one, number)
        failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        assert [getattr(outcome, "status_code", None) for outcome in failed] == [status]
        assert len(outcomes) == count
        assert harness.emulator.statistics().uploads <= 2 * 8 + 8


async def test_a_file_in_which_every_line_is_bad_costs_a_bounded_number_of_uploads() -> None:
    uploads = 0

    async def answer(request: Any, send: Send) -> Any:
        nonlocal uploads
        if request.method == "POST" and request.url.path.endswith("/files"):
            uploads += 1
            return HTTP.Response(400, json={"error": {"message": "The file is not valid."}})
        return await send(request)

    async with open_harness() as harness:
        outcomes: list[Any] = []
        async with (
            harness.client(http_client=between(harness, answer)) as client,
            anyio.create_task_group() as nursery,
        ):

            async def one(number: int) -> None:
                outcomes.append(await outcome_of(ask(client, f"q{number}")))

            for number in range(200):
                nursery.start_soon(one, number)
        assert all(isinstance(outcome, openai.BadRequestError) for outcome in outcomes)
        assert len(outcomes) == 200
        assert uploads <= 2 * 8 + 8 + 1
