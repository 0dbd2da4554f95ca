"""A journal knows the calls on other lanes: what may have been billed is told, and never paid for again in silence."""

from __future__ import annotations

import json
import logging
from typing import Any

import anyio
import pytest

from autobatcher.emulator import FaultPlan, HttpFault
from autobatcher.errors import BatchUnreachableError
from tests.harness import Harness, ask, open_harness, outcome_of
from tests.journal.restarts import Program, Restarts

pytestmark = pytest.mark.full_price

REALTIME: dict[str, Any] = {"lanes": ("realtime",)}


async def test_a_call_that_was_running_in_a_crash_is_told_once_and_then_made_again(
    restarts: Restarts, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_harness(has_lanes=True, realtime_seconds=60.0) as harness:
        await _die_in_a_call(restarts, harness)
        async with restarts.program(harness, **REALTIME) as rerun:
            with caplog.at_level(logging.WARNING, logger="autobatcher"):
                told = await outcome_of(ask(rerun.client, "a"))
            assert isinstance(told, BatchUnreachableError)
            assert "may have been executed and billed" in str(told)
            assert _billed(harness) == ["a"]
            assert await ask(rerun.client, "a") == "a"
        assert _billed(harness) == ["a", "a"]
        assert [record.message for record in caplog.records if "may have been billed" in record.message]


@pytest.mark.proves("faults", "the program dies, or its caller leaves, while a flex or real-time call runs")
async def test_who_died_after_he_was_told_of_a_call_is_told_again(restarts: Restarts) -> None:
    async with open_harness(has_lanes=True, realtime_seconds=60.0) as harness:
        await _die_in_a_call(restarts, harness)
        for _ in range(2):
            async with restarts.program(harness, **REALTIME) as rerun:
                assert isinstance(await outcome_of(ask(rerun.client, "a")), BatchUnreachableError)
                rerun.die()
        async with restarts.program(harness, **REALTIME) as rerun:
            assert isinstance(await outcome_of(ask(rerun.client, "a")), BatchUnreachableError)
        restarts.end_well()
        async with restarts.program(harness, **REALTIME) as rerun:
            assert await ask(rerun.client, "a") == "a"


async def test_who_would_rather_pay_twice_pays_twice_after_a_crash_and_the_event_says_so(restarts: Restarts) -> None:
    async with open_harness(has_lanes=True, realtime_seconds=60.0) as harness:
        await _die_in_a_call(restarts, harness)
        async with restarts.program(harness, on_overrun="pay_twice", **REALTIME) as rerun:
            assert await ask(rerun.client, "a") == "a"
        assert _billed(harness) == ["a", "a"]
        (event,) = harness.events_named("requests_escalated")
        assert event["paid_twice"]
        assert (event["from_lane"], event["to_lane"]) == ("realtime", "realtime")


@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 503}])
async def test_a_call_that_was_not_executed_is_in_nobodys_way(restarts: Restarts, fault: dict[str, Any]) -> None:
    faults = FaultPlan((HttpFault(operation="realtime", first=1, **fault),))
    async with open_harness(has_lanes=True, faults=faults) as harness:
        async with restarts.program(harness, **REALTIME) as program, anyio.create_task_group() as nursery:
            nursery.start_soon(ask, program.client, "a")
            await anyio.sleep(0.3)  # it waits before its second try
            program.die()
        async with restarts.program(harness, **REALTIME) as rerun:
            assert await ask(rerun.client, "a") == "a"
        assert _billed(harness) == ["a"]


async def test_the_answer_of_a_call_is_given_again_with_its_lane(restarts: Restarts) -> None:
    async with open_harness(has_lanes=True) as harness:
        async with restarts.program(harness, lanes=("flex",)) as program:
            first = await program.client.answer("/v1/chat/completions", _body("a"))
            program.client.keep_for_rerun()
        async with restarts.program(harness, lanes=("flex",)) as rerun:
            again = await rerun.client.answer("/v1/chat/completions", _body("a"))
        assert (again.body, again.lane) == (first.body, "flex")
        assert _billed(harness) == ["a"]


async def test_the_lane_at_which_a_call_was_billed_is_kept(restarts: Restarts) -> None:
    downgrade = FaultPlan((HttpFault(operation="flex", service_tier="default"),))
    async with open_harness(has_lanes=True, faults=downgrade) as harness:
        async with restarts.program(harness, lanes=("flex",)) as program:
            await ask(program.client, "a")
            program.client.keep_for_rerun()
        async with restarts.program(harness, lanes=("flex",)) as rerun:
            again = await rerun.client.answer("/v1/chat/completions", _body("a"))
        assert again.lane == "realtime"


@pytest.mark.proves("faults", "the program dies, or its caller leaves, while a flex or real-time call runs")
async def test_a_caller_who_left_a_running_call_does_not_pay_again_unasked(restarts: Restarts) -> None:
    async with (
        open_harness(has_lanes=True, realtime_seconds=60.0) as harness,
        restarts.program(harness, **REALTIME) as program,
    ):
        with anyio.move_on_after(10):
            await ask(program.client, "a")
        assert isinstance(await outcome_of(ask(program.client, "a")), BatchUnreachableError)
        assert _billed(harness) == ["a"]
        assert await ask(program.client, "a") == "a"


async def test_a_caller_who_left_before_the_call_was_sent_just_asks_again(restarts: Restarts) -> None:
    async with open_harness(has_lanes=True, realtime_seconds=60.0) as harness:
        async with (
            restarts.program(harness, lane_concurrency=1, **REALTIME) as program,
            anyio.create_task_group() as nursery,
        ):
            nursery.start_soon(ask, program.client, "a")
            await anyio.sleep(1)
            with anyio.move_on_after(10):
                await ask(program.client, "b")
            assert await ask(program.client, "b") == "b"
        assert _billed(harness) == ["a", "b"]


@pytest.mark.proves("faults", "the program dies, or its caller leaves, while a flex or real-time call runs")
async def test_a_call_that_was_running_in_a_close_is_told_to_the_rerun(restarts: Restarts) -> None:
    async with open_harness(has_lanes=True, realtime_seconds=60.0) as harness:
        async with anyio.create_task_group() as nursery, restarts.program(harness, **REALTIME) as program:
            nursery.start_soon(_ask_in_vain, program)
            await anyio.sleep(1)
        async with restarts.program(harness, **REALTIME) as rerun:
            assert isinstance(await outcome_of(ask(rerun.client, "a")), BatchUnreachableError)
        assert _billed(harness) == ["a"]


async def test_a_call_is_told_without_stored_answers_too(restarts: Restarts) -> None:
    options = {**REALTIME, "journal_hash_only": True}
    async with open_harness(has_lanes=True) as harness:
        async with restarts.program(harness, **options) as program:
            await ask(program.client, "a")
            program.client.keep_for_rerun()
        async with restarts.program(harness, **options) as rerun:
            assert isinstance(await outcome_of(ask(rerun.client, "a")), BatchUnreachableError)
            assert await ask(rerun.client, "a") == "a"


async def test_a_caller_who_comes_back_to_a_resumed_batch_is_taken_to_the_next_lane(restarts: Restarts) -> None:
    async with open_harness(has_lanes=True, batch_seconds=50_000) as harness:
        async with restarts.program(harness, lanes=("batch",)) as program, anyio.create_task_group() as nursery:
            nursery.start_soon(_ask_in_vain, program)
            await anyio.sleep(60)
            program.die()
        async with restarts.program(harness, deadline="6h", lanes=("batch", "realtime")) as rerun:
            assert await ask(rerun.client, "b") == "b"  # the batch of "a" is resumed
            begun = anyio.current_time()
            assert await ask(rerun.client, "a") == "a"
            assert anyio.current_time() - begun < 6 * 3_600
        assert _billed(harness) == ["b", "a"]


async def test_a_patient_caller_in_a_resumed_batch_is_not_paid_for_twice_for_a_hurried_one(restarts: Restarts) -> None:
    options: dict[str, Any] = {"lanes": ("batch", "realtime"), "on_overrun": "pay_twice", "batch_size": 2}
    async with open_harness(
        has_lanes=True, batch_seconds=30_000, cancelling_seconds=50_000.0, finished_while_cancelling=1.0
    ) as harness:
        async with restarts.program(harness, **options) as program, anyio.create_task_group() as nursery:
            for text in ("patient", "hurried"):
                nursery.start_soon(outcome_of, ask(program.client, text))
            await anyio.sleep(60)
            program.die()
        async with restarts.program(harness, **options) as rerun, anyio.create_task_group() as nursery:
            nursery.start_soon(ask, rerun.client, "patient")
            with rerun.client.deadline("6h"):
                assert await ask(rerun.client, "hurried") == "hurried"
        assert harness.emulator.statistics().batches_created == 1
        assert not harness.events_named("requests_resubmitted")


async def _die_in_a_call(restarts: Restarts, harness: Harness) -> None:
    async with restarts.program(harness, **REALTIME) as program, anyio.create_task_group() as nursery:
        nursery.start_soon(_ask_in_vain, program)
        await anyio.sleep(10)
        program.die()


async def _ask_in_vain(program: Program) -> None:
    await outcome_of(ask(program.client, "a"))


def _body(text: str) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()


def _billed(harness: Harness) -> list[str]:
    return [each.text for each in harness.emulator.ledger()]
