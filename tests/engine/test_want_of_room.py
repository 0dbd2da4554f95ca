"""An upstream without capacity: callers wait, requests go into smaller batches, and none of it counts as a retry."""

from __future__ import annotations

from dataclasses import replace

import anyio
import openai
import pytest

from autobatcher.emulator import BatchFault, FaultPlan, HttpFault
from autobatcher.upstream.providers import OPENAI
from tests.engine.test_faults_of_the_upstream import ask_many, check_answers
from tests.harness import ask, open_harness, wait_for_event

ROW = "the upstream has no room: token_limit_exceeded, 429 at creation or upload"


@pytest.mark.proves("faults", ROW)
@pytest.mark.parametrize("like", ["openai", "doubleword"])
async def test_a_batch_too_large_for_the_quota_travels_in_smaller_ones(like: str) -> None:
    async with open_harness(like, max_enqueued_requests=10, batch_seconds=100) as harness:
        check_answers(await ask_many(harness, 35, max_retries=0))
        statistics = harness.emulator.statistics()
        assert set(statistics.billed.values()) == {1}
        assert len(statistics.billed) == 35
        assert max(len(batch.custom_ids) for batch in statistics.batches if batch.status == "completed") <= 10
        assert harness.events_named("requests_resubmitted")
        assert statistics.input_file_ids == () or like == "doubleword"


@pytest.mark.proves("faults", ROW)
async def test_a_quota_used_up_by_others_is_waited_for() -> None:
    async with open_harness(max_enqueued_requests=4, batch_seconds=3000) as harness, harness.client() as first:
        async with anyio.create_task_group() as callers:
            for i in range(4):
                callers.start_soon(ask, first, f"first {i}")
            await wait_for_event(harness, "batch_submitted")
            async with harness.client() as second:  # another program of the same organisation
                assert "second" in await ask(second, "second")
        assert set(harness.emulator.statistics().billed.values()) == {1}


@pytest.mark.proves("faults", ROW)
@pytest.mark.parametrize("operation", ["files.create", "batches.create"])
async def test_an_upstream_that_answers_429_for_long_is_waited_for(operation: str) -> None:
    busy = HttpFault(operation=operation, first=70, status=429, headers={"retry-after": "60"})
    async with open_harness(faults=FaultPlan((busy,))) as harness:
        check_answers(await ask_many(harness, 5, max_retries=0))
        assert anyio.current_time() > 1500
        assert set(harness.emulator.statistics().billed.values()) == {1}
        assert harness.events_named("batch_submission_failed") == []


async def test_callers_who_wait_for_room_can_leave() -> None:
    plan = FaultPlan((BatchFault(ends="failed", error_code="token_limit_exceeded"),))
    async with open_harness(faults=plan) as harness, harness.client() as client:
        with anyio.move_on_after(100):
            await ask(client, "x")
        created = harness.emulator.statistics().batches_created
        await anyio.sleep(5_000)
        assert harness.emulator.statistics().batches_created == created
        assert client.batch_statistics().waiting_requests == 0  # type: ignore[union-attr]


async def test_room_that_never_comes_is_a_typed_error_some_day() -> None:
    plan = FaultPlan((HttpFault(operation="batches.create", status=429, body='{"error": {"message": "busy"}}'),))
    async with open_harness(faults=plan) as harness:
        (outcome,) = await ask_many(harness, 1)
        assert isinstance(outcome, openai.RateLimitError)
        assert "busy" in str(outcome)
        assert anyio.current_time() > 25 * 3600
        assert harness.emulator.statistics().batches_created == 0
        assert harness.emulator.statistics().input_file_ids == ()


@pytest.mark.proves("faults", "no credit, wrong key, bad TLS, full disk: quickly")
async def test_a_429_for_want_of_money_is_told_at_once() -> None:
    body = '{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'
    async with open_harness(
        faults=FaultPlan((HttpFault(operation="batches.create", status=429, body=body),))
    ) as harness:
        (outcome,) = await ask_many(harness, 1)
        assert isinstance(outcome, openai.RateLimitError)
        assert outcome.code == "insufficient_quota"
        assert harness.emulator.statistics().http_calls["batches.create"] == 1


@pytest.mark.proves("faults", "more batches than the provider lets create in an hour")
async def test_creations_are_paced_as_the_provider_demands() -> None:
    provider = replace(OPENAI, max_batches_per_hour=5)
    async with open_harness(max_batches_per_hour=5) as harness:
        check_answers(await ask_many(harness, 12, batch_size=1, provider=provider))
        assert harness.emulator.statistics().http_statuses.get(429) is None
        assert 2 * 3600 < anyio.current_time() < 2 * 3600 + 200


async def test_a_429_that_was_carried_out_all_the_same_creates_no_second_batch() -> None:
    plan = FaultPlan((HttpFault(operation="batches.create", nth=(1,), status=429, after_processing=True),))
    async with open_harness(faults=plan) as harness:
        check_answers(await ask_many(harness, 3))
        assert harness.emulator.statistics().batches_created == 1


async def test_the_error_of_a_submission_names_no_batch() -> None:
    plan = FaultPlan((HttpFault(operation="files.create", status=400, body="no"),))
    async with open_harness(faults=plan) as harness:
        (outcome,) = await ask_many(harness, 1)
        assert isinstance(outcome, openai.BadRequestError)
        assert "x-autobatcher-batch-id" not in outcome.response.headers
