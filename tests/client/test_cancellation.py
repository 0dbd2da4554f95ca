"""A cancelled call is withdrawn and affects no other call."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from autobatcher.emulator import FaultPlan, HttpFault
from tests.harness import ask, open_harness, wait_for_event


async def test_a_caller_cancelled_in_the_queue_is_never_sent() -> None:
    async with open_harness() as harness, harness.client(batch_window_seconds=10) as client:
        answers: list[str] = []

        async def stays() -> None:
            answers.append(await ask(client, "stays"))

        async with anyio.create_task_group() as callers:
            callers.start_soon(stays)
            with anyio.move_on_after(5):
                await ask(client, "goes")
        assert len(answers) == 1
        assert [body["messages"][0]["content"] for body in harness.bodies_sent()] == ["stays"]


async def test_a_queue_whose_only_caller_left_sends_nothing() -> None:
    async with open_harness() as harness, harness.client(batch_window_seconds=10) as client:
        with anyio.move_on_after(5):
            await ask(client, "goes")
        await anyio.sleep(100)
        assert harness.emulator.statistics().uploads == 0


async def test_a_batch_goes_on_for_those_who_stay() -> None:
    async with open_harness(batch_seconds=100) as harness, harness.client() as client:
        answers: list[str] = []

        async def stays() -> None:
            answers.append(await ask(client, "stays"))

        async with anyio.create_task_group() as callers:
            callers.start_soon(stays)
            with anyio.move_on_after(50):
                await ask(client, "goes")
        assert len(answers) == 1
        assert harness.events_named("batch_cancel_requested") == []


@pytest.mark.parametrize("cancels", [True, False])
async def test_a_batch_that_everyone_left_is_cancelled_upstream_unless_told_otherwise(cancels: bool) -> None:
    async with (
        open_harness(batch_seconds=100) as harness,
        harness.client(cancel_abandoned_batches=cancels) as client,
    ):
        async with anyio.create_task_group() as callers:
            callers.start_soon(ask, client, "a")
            callers.start_soon(ask, client, "b")
            await wait_for_event(harness, "batch_submitted")
            callers.cancel_scope.cancel()
        await anyio.sleep(20)
        assert harness.emulator.statistics().running_batch_ids == () or not cancels
        assert len(harness.events_named("batch_cancelled_upstream")) == int(cancels)
        await anyio.sleep(200)
        assert len(harness.events_named("batch_completed")) == int(not cancels)


async def test_everyone_leaving_during_the_upload_creates_no_batch() -> None:
    slow = FaultPlan((HttpFault(operation="files.create", delay_seconds=20),))
    async with open_harness(faults=slow) as harness, harness.client() as client:
        with anyio.move_on_after(10):
            await ask(client, "x")
        await anyio.sleep(100)
        assert harness.emulator.statistics().uploads == 1
        assert harness.emulator.statistics().batches_created == 0


async def test_everyone_leaving_during_the_creation_cancels_what_was_created() -> None:
    slow = FaultPlan((HttpFault(operation="batches.create", delay_seconds=20),))
    async with open_harness(faults=slow, batch_seconds=500) as harness, harness.client() as client:
        with anyio.move_on_after(10):
            await ask(client, "x")
        await anyio.sleep(100)
        assert harness.emulator.statistics().batches_created == 1
        assert harness.emulator.statistics().running_batch_ids == ()


async def test_an_upstream_that_refuses_our_cancellation_is_told_about() -> None:
    plan = FaultPlan((HttpFault(operation="batches.cancel", status=403),))
    async with open_harness(faults=plan, batch_seconds=5000) as harness, harness.client() as client:
        with anyio.move_on_after(50):
            await ask(client, "x")
        await wait_for_event(harness, "batch_cancel_failed")
        assert "403" in harness.events_named("batch_cancel_failed")[0]["error"]


only_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)


@only_asyncio
async def test_native_timeouts_and_cancellations_of_one_caller_disturb_no_other() -> None:
    async with open_harness(batch_seconds=100) as harness, harness.client() as client:
        stays = asyncio.create_task(ask(client, "stays"))
        impatient = asyncio.create_task(asyncio.wait_for(ask(client, "impatient"), 30))
        killed = asyncio.create_task(ask(client, "killed"))
        await wait_for_event(harness, "batch_submitted")
        killed.cancel()
        with pytest.raises(TimeoutError):
            await impatient
        assert killed.cancelled()
        assert "stays" in await stays
        assert harness.emulator.statistics().batches_created == 1


@only_asyncio
async def test_a_caller_natively_cancelled_in_the_queue_is_never_sent() -> None:
    async with open_harness() as harness, harness.client() as client:
        killed = asyncio.create_task(ask(client, "killed"))
        stays = asyncio.create_task(ask(client, "stays"))
        await anyio.wait_all_tasks_blocked()
        killed.cancel()
        assert "stays" in await stays
        assert [body["messages"][0]["content"] for body in harness.bodies_sent()] == ["stays"]


@only_asyncio
async def test_all_callers_natively_cancelled_cancels_the_batch_upstream() -> None:
    async with open_harness(batch_seconds=500) as harness, harness.client() as client:
        callers = [asyncio.create_task(ask(client, "x")) for _ in range(3)]
        await wait_for_event(harness, "batch_submitted")
        for caller in callers:
            caller.cancel()
        await wait_for_event(harness, "batch_cancelled_upstream")
        assert harness.emulator.statistics().running_batch_ids == ()


@only_asyncio
async def test_a_natively_cancelled_block_still_shuts_down() -> None:
    async with open_harness(batch_seconds=500) as harness:

        async def program() -> None:
            async with harness.client(cancel_active_batches_on_close=True) as client:
                await ask(client, "x")

        task = asyncio.create_task(program())
        await wait_for_event(harness, "batch_submitted")
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert harness.emulator.statistics().running_batch_ids == ()
