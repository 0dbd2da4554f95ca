"""Limits: of one batch, of the queue, of batches and polls. And nothing is left behind."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import anyio
import pytest

from autobatcher.emulator import FaultPlan, HttpFault
from autobatcher.engine.batch.poll_schedule import (
    MAX_INTERVALS,
    POLLS_PER_BATCH,
    POLLS_PER_INTERVAL,
    POLLS_PER_SECOND,
    Schedule,
)
from autobatcher.engine.fair_limiter import CONCURRENT_UPLOADS, FairLimiter
from autobatcher.engine.queue.backoff import FIRST_DELAY_SECONDS, Backoff
from autobatcher.engine.queue.rate_limiter import RateLimiter
from autobatcher.engine.queue.windows import Windows
from autobatcher.upstream.providers import OPENAI
from tests.engine.test_faults_of_the_upstream import ask_many, check_answers
from tests.engine.test_windows import account, make, unlimited
from tests.harness import HTTP, Send, ask, between, open_harness, outcome_of, wait_for_event

SPLIT = "50,001 requests, 201 MB, 50,001 embedding inputs at once"


# ---- one batch ----


@pytest.mark.proves("faults", SPLIT)
async def test_fifty_thousand_and_one_requests_are_two_batches() -> None:
    windows = Windows(batch_size=1_000_000, window_seconds=5)
    for _ in range(50_001):
        windows.add(await make(account(OPENAI)), clock=lambda: 0)
    assert [len(batch) for batch in windows.due(5, unlimited())] == [50_000, 1]


@pytest.mark.proves("faults", SPLIT)
async def test_two_hundred_and_one_megabytes_are_two_batches() -> None:
    windows = Windows(batch_size=1_000_000, window_seconds=5)
    body = b'{"model":"m","x":"' + b"x" * 999_900 + b'"}'
    for _ in range(201):
        windows.add(await make(account(OPENAI), body=body), clock=lambda: 0)
    batches = windows.due(5, unlimited())
    assert len(batches) == 2
    assert all(sum(request.size for request in batch) <= 200_000_000 for batch in batches)
    assert sum(map(len, batches)) == 201


@pytest.mark.proves("faults", SPLIT)
async def test_fifty_thousand_and_one_embedding_inputs_are_two_batches() -> None:
    windows = Windows(batch_size=1_000_000, window_seconds=5)
    for _ in range(49_999):
        windows.add(await make(account(OPENAI), endpoint="/v1/embeddings", inputs=1), clock=lambda: 0)
    windows.add(await make(account(OPENAI), endpoint="/v1/embeddings", inputs=2), clock=lambda: 0)
    assert [sum(r.embedding_inputs for r in batch) for batch in windows.due(5, unlimited())] == [49_999, 2]


@pytest.mark.proves("faults", SPLIT)
async def test_a_split_batch_answers_everyone() -> None:
    async with open_harness(max_requests=7) as harness:
        check_answers(await ask_many(harness, 20, batch_size=7))
        assert [len(batch.custom_ids) for batch in harness.emulator.statistics().batches] == [7, 7, 6]


# ---- back-pressure ----


async def test_no_more_batches_are_under_way_than_allowed() -> None:
    most = 0
    async with open_harness(batch_seconds=50) as harness:

        async def answer(request: Any, send: Send) -> Any:
            nonlocal most
            response = await send(request)
            most = max(most, len(harness.emulator.statistics().running_batch_ids))
            return response

        settings = {"batch_size": 1, "max_active_batches": 3, "http_client": between(harness, answer)}
        check_answers(await ask_many(harness, 10, **settings))
        assert most == 3
        assert harness.emulator.statistics().batches_created == 10


async def test_calls_wait_in_turn_while_too_much_is_queued() -> None:
    async with open_harness() as harness, harness.client(batch_window_seconds=50, max_queued_bytes=500) as client:
        text = "x" * 200  # two fit
        async with anyio.create_task_group() as callers:
            for _ in range(5):
                callers.start_soon(ask, client, text)
            await anyio.wait_all_tasks_blocked()
            statistics = client.batch_statistics()
            assert statistics is not None
            assert statistics.queued_requests == 1
        assert [len(batch.custom_ids) for batch in harness.emulator.statistics().batches] == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("closes", [True, False])
async def test_a_caller_who_waits_to_be_queued_can_leave_and_is_told_of_the_close(closes: bool) -> None:
    async with open_harness() as harness, harness.client(batch_window_seconds=50, max_queued_bytes=1) as client:
        outcomes: list[Any] = []

        async def call(text: str) -> None:
            outcomes.append(await outcome_of(ask(client, text)))

        async with anyio.create_task_group() as callers:
            callers.start_soon(call, "first")
            await anyio.wait_all_tasks_blocked()
            with anyio.move_on_after(5):
                await call("leaves")
            callers.start_soon(call, "second")
            await anyio.wait_all_tasks_blocked()
            if closes:
                await client.close()
        assert len(outcomes) == 2
        if closes:
            assert all("closed" in str(outcome) for outcome in outcomes)
        else:
            assert outcomes == ["first", "second"]


async def test_the_byte_limiter_admits_in_order_and_a_cancelled_waiter_takes_nothing() -> None:
    limiter = FairLimiter(10)
    order: list[str] = []

    async def come(name: str, size: int) -> None:
        await limiter.acquire("me", size)
        order.append(name)

    await limiter.acquire("me", 8)
    async with anyio.create_task_group() as nursery:
        nursery.start_soon(come, "large", 9)
        await anyio.wait_all_tasks_blocked()
        nursery.start_soon(come, "small", 1)
        await anyio.wait_all_tasks_blocked()
        assert order == []  # the small one would fit, but waiters are served in order
        limiter.release("me", 8)
        await anyio.wait_all_tasks_blocked()
        assert sorted(order) == ["large", "small"]
        with anyio.move_on_after(1):
            await limiter.acquire("me", 5)
        limiter.release("me", 9)
        await limiter.acquire("me", 9)  # 1 + 9: the cancelled waiter took nothing


# ---- polls ----


@pytest.mark.parametrize("interval", [0.2, 2.0])
async def test_a_hundred_batches_are_not_a_hundred_polls_an_interval(interval: float) -> None:
    polls: Counter[int] = Counter()
    async with open_harness("azure", batch_seconds=60) as harness:

        async def answer(request: Any, send: Send) -> Any:
            if request.method == "GET" and "/batches/" in request.url.path:
                polls[int(anyio.current_time())] += 1
            return await send(request)

        settings = {"batch_size": 1, "poll_interval_seconds": interval, "http_client": between(harness, answer)}
        check_answers(await ask_many(harness, 100, **settings))
    seconds = max(polls) - min(polls)
    assert sum(polls.values()) / seconds < 1.5 * max(POLLS_PER_SECOND, POLLS_PER_INTERVAL / interval)


def test_polls_get_rarer_while_nothing_moves_and_quick_again_when_it_does() -> None:
    schedule = Schedule(2.0)
    waits = []
    for _ in range(20):
        waits.append(schedule.next_wait(1))
        schedule.unchanged()
    assert waits[0] == 2.0
    assert waits == sorted(waits)
    assert waits[-1] == 2.0 * MAX_INTERVALS
    schedule.changed()
    assert schedule.next_wait(1) == 2.0
    assert schedule.next_wait(1000) == 1000 / POLLS_PER_SECOND
    assert Schedule(0.1).next_wait(1000) == 1000 * 0.1 / POLLS_PER_INTERVAL
    assert Schedule(2.0, most_batches=1000).next_wait(1000) == 1 / POLLS_PER_BATCH


@pytest.mark.parametrize(("most", "at_once"), [(200, CONCURRENT_UPLOADS), (1_000, 20)])
async def test_as_many_uploads_go_at_once_as_suits_the_batches_that_may_be_under_way(most: int, at_once: int) -> None:
    under_way, highest = 0, 0

    async def answer(request: Any, send: Send) -> Any:
        nonlocal under_way, highest
        if not (request.method == "POST" and request.url.path.endswith("/files")):
            return await send(request)
        under_way += 1
        highest = max(highest, under_way)
        await anyio.sleep(1)
        under_way -= 1
        return await send(request)

    async with open_harness() as harness:
        settings = {"batch_size": 1, "max_active_batches": most, "http_client": between(harness, answer)}
        check_answers(await ask_many(harness, 30, **settings))
    assert highest == at_once


def test_no_two_clients_wait_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autobatcher.upstream.back_off.JITTER", 0.2)
    waits = {Schedule(10.0).next_wait(1) for _ in range(20)}
    assert len(waits) > 10
    assert all(8.0 <= wait <= 12.0 for wait in waits)


# ---- backoff and rate limit ----


def test_the_backoff_halves_batches_waits_and_grows_again() -> None:
    backoff = Backoff()
    backoff.submitted(0)
    assert backoff.ready_at == -math.inf  # nothing was ever refused
    for _ in range(3):
        backoff.throttled(1000, now=100)
    assert backoff.max_requests == 500
    assert backoff.ready_at == 100 + 4 * FIRST_DELAY_SECONDS
    backoff.batch_ended(now=110)
    assert backoff.ready_at == 110
    backoff.accepted(500, now=120)
    assert backoff.max_requests == 750
    backoff.accepted(10, now=130)
    assert backoff.max_requests == 750
    backoff.throttled(1, now=140)
    assert backoff.max_requests == 1


def test_the_rate_limiter_lets_a_burst_go_and_spreads_the_rest() -> None:
    limiter = RateLimiter(3)
    assert [limiter.reserve(10.0) for _ in range(7)] == [10, 10, 10, 3610, 3610, 3610, 7210]
    assert limiter.reserve(99_999.0) == 99_999.0


# ---- nothing left behind ----


@pytest.mark.proves("faults", "input files are deleted when their batch has been read, strays too")
@pytest.mark.parametrize("keeps", [True, False])
async def test_input_files_are_deleted_unless_they_are_wanted(keeps: bool) -> None:
    async with open_harness() as harness, harness.client(delete_input_files=not keeps) as client:
        assert "x" in await ask(client, "x")
        await wait_for_event(harness, "batch_completed")
        await anyio.sleep(10)
        assert len(harness.emulator.statistics().input_file_ids) == int(keeps)


@pytest.mark.proves("faults", "input files are deleted when their batch has been read, strays too")
async def test_a_client_that_closes_at_once_leaves_no_file() -> None:
    async with open_harness() as harness:
        async with harness.client() as client:
            assert "x" in await ask(client, "x")
        assert harness.emulator.statistics().input_file_ids == ()


@pytest.mark.proves("faults", "input files are deleted when their batch has been read, strays too")
@pytest.mark.parametrize(
    "fault",
    [
        HttpFault(operation="files.create", nth=(1,), lose_answer=True),
        HttpFault(operation="files.create", nth=(1, 2), status=502, after_processing=True),
        HttpFault(operation="files.delete", first=3, status=500),
        HttpFault(operation="files.delete", nth=(1,), lose_answer=True),
    ],
    ids=lambda fault: f"{fault.operation}-{fault.status}",
)
async def test_uploads_whose_answers_were_lost_leave_no_file(fault: HttpFault) -> None:
    async with open_harness(faults=FaultPlan((fault,))) as harness:
        async with harness.client() as client:
            assert "x" in await ask(client, "x")
            await wait_for_event(harness, "batch_completed")
            await anyio.sleep(60)
        assert harness.emulator.statistics().input_file_ids == ()


@pytest.mark.proves("faults", "input files are deleted when their batch has been read, strays too")
async def test_a_submission_that_came_to_nothing_leaves_no_file() -> None:
    plan = FaultPlan((HttpFault(operation="batches.create", status=402),))
    for like in ("openai", "doubleword"):
        async with open_harness(like, faults=plan) as harness:
            await ask_many(harness, 3)
            assert harness.emulator.statistics().uploads == 1
            assert harness.emulator.statistics().input_file_ids == ()


async def test_the_file_of_a_batch_that_runs_on_is_left_to_it() -> None:
    async with open_harness(batch_seconds=500) as harness:
        client = harness.client()
        async with client, anyio.create_task_group() as callers:
            callers.start_soon(outcome_of, ask(client, "x"))
            await wait_for_event(harness, "batch_submitted")
            await client.close()
        assert len(harness.emulator.statistics().running_batch_ids) == 1
        assert len(harness.emulator.statistics().input_file_ids) == 1


async def test_uploads_say_when_they_may_go() -> None:
    seen: list[bytes] = []

    async def answer(request: Any, send: Send) -> Any:
        if request.method == "POST" and request.url.path.endswith("/files"):
            content = await request.aread()
            seen.append(content)
            request = HTTP.Request("POST", request.url, headers=request.headers, content=content)
        return await send(request)

    async with open_harness() as harness:
        await ask_many(harness, 1, http_client=between(harness, answer))
    assert b'name="expires_after[anchor]"' in seen[0]
    assert str(25 * 3600 + 24 * 3600).encode() in seen[0]  # window and slack, plus one day


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_active_batches", 0),
        ("max_queued_bytes", -1),
        ("deadline_slack_seconds", -1.0),
        ("delete_input_files", "yes"),
    ],
)
async def test_a_bad_limit_is_named_at_construction(name: str, value: object) -> None:
    async with open_harness() as harness:
        with pytest.raises((TypeError, ValueError), match=name):
            harness.client(**{name: value})
