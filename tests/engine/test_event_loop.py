"""Waiters on both event loops, and with trio as a guest of asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint, current_token

from autobatcher import BatchOpenAI
from autobatcher.emulator import Emulator
from autobatcher.engine.event_loop import new_waiter, running_loop, wake
from tests.harness import MODEL, SDK_LIBRARY


async def test_the_running_loop_is_told_as_anyio_tells_it() -> None:
    assert running_loop() is current_token().native_token


def test_without_a_loop_there_is_none_to_tell() -> None:
    with pytest.raises(RuntimeError):
        running_loop()


async def test_a_task_waits_until_it_is_woken_once() -> None:
    waiters: list[Any] = []
    has_gone_on = anyio.Event()

    async def stay() -> None:
        waiter, waiting = new_waiter()
        waiters.append(waiter)
        await waiting
        has_gone_on.set()

    async with anyio.create_task_group() as nursery:
        nursery.start_soon(stay)
        await anyio.wait_all_tasks_blocked()
        assert not has_gone_on.is_set()
        wake(waiters[0])
        wake(waiters[0])
        await has_gone_on.wait()


@pytest.mark.parametrize("woken_first", [True, False])
async def test_a_task_that_is_cancelled_and_woken_at_once_leaves_once(woken_first: bool) -> None:
    waiters: list[Any] = []
    ends: list[str] = []

    async def stay() -> None:
        waiter, waiting = new_waiter()
        waiters.append(waiter)
        try:
            await waiting
        except anyio.get_cancelled_exc_class():
            ends.append("cancelled")
            raise
        ends.append("woken")

    async with anyio.create_task_group() as nursery:
        nursery.start_soon(stay)
        await anyio.wait_all_tasks_blocked()
        if woken_first:
            wake(waiters[0])
            nursery.cancel_scope.cancel()
        else:
            nursery.cancel_scope.cancel()
            wake(waiters[0])
    assert len(ends) == 1
    wake(waiters[0])  # too late: nothing happens
    await checkpoint()


def test_a_client_works_in_trio_as_a_guest_of_asyncio() -> None:
    """An asyncio loop runs in this thread, too, but the callers are trio tasks."""
    emulator = Emulator()

    async def in_trio() -> str:
        with trio.fail_after(10):
            options: dict[str, Any] = {"batch_window_seconds": 0.01, "poll_interval_seconds": 0.01}
            http_client = emulator.http_client(library=SDK_LIBRARY)
            async with BatchOpenAI(
                api_key="k", base_url="http://emulator.test/v1", http_client=http_client, **options
            ) as client:
                messages: Any = [{"role": "user", "content": "hello"}]
                completion = await client.chat.completions.create(model=MODEL, messages=messages)
                return completion.object

    async def in_asyncio() -> str:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        outcomes: list[Any] = []

        def note(outcome: Any) -> None:
            outcomes.append(outcome)
            done.set()

        trio.lowlevel.start_guest_run(in_trio, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=note)
        await done.wait()
        told: str = outcomes[0].unwrap()
        return told

    assert asyncio.run(in_asyncio()) == "chat.completion"
    emulator.close()
