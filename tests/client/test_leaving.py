"""Every way out of a client in every phase: all callers get an outcome, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import warnings
from typing import Any

import anyio
import pytest
import trio

from autobatcher import BatchOpenAI, ClientClosedError
from autobatcher.emulator import FaultPlan, HttpFault
from autobatcher.engine.batch.leaving import SHUTDOWN_SECONDS
from autobatcher.upstream.batch_api import CREATE_SECONDS
from tests.client.test_ownership import run_on
from tests.harness import SDK_LIBRARY, Harness, Send, ask, between, open_harness, outcome_of, wait_for_event

only_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)


# ---- blocks ----


async def test_a_closed_client_cannot_be_entered_again() -> None:
    async with open_harness() as harness:
        client = harness.client()
        async with client:
            pass
        with pytest.raises(ClientClosedError):
            async with client:
                pass


async def test_a_client_entered_twice_says_so_and_stays_with_its_first_block() -> None:
    async with open_harness() as harness, harness.client() as client:
        with pytest.raises(RuntimeError):
            async with client:
                pass
        assert "x" in await ask(client, "x")


async def test_a_block_around_a_copy_of_an_unused_client_owns_the_engine() -> None:
    async with open_harness(batch_seconds=500) as harness:
        async with harness.client(cancel_active_batches_on_close=True).with_options(max_retries=1) as client:
            assert "x" in await ask(client, "x")
        assert len(harness.events_named("client_closing")) == 1
        with pytest.raises(ClientClosedError):
            await ask(client, "y")


async def test_a_block_around_a_client_used_bare_before_closes_it_also_when_it_raises() -> None:
    async with open_harness() as harness:
        client = harness.client()
        await ask(client, "x")
        with pytest.raises(ValueError, match="mine"):
            async with client:
                raise ValueError("mine")
        assert client.is_closed()
        assert len(harness.events_named("client_closing")) == 1


async def test_an_exception_of_the_block_outlives_a_cancellation_during_the_shutdown() -> None:
    slow = FaultPlan((HttpFault(operation="batches.cancel", delay_seconds=5),))
    scope = anyio.CancelScope()

    def cancel_at_shutdown(event: dict[str, Any]) -> None:
        if event["event"] == "batch_cancel_requested":
            scope.cancel()

    async with open_harness(batch_seconds=500, faults=slow) as harness:
        client = harness.client(cancel_active_batches_on_close=True, batch_event_handler=cancel_at_shutdown)

        async def program() -> None:
            with scope:
                async with client:
                    with anyio.move_on_after(50):
                        await ask(client, "x")
                    raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            await program()
        assert scope.cancel_called
        assert harness.emulator.statistics().running_batch_ids == ()


async def test_a_block_inside_a_cancelled_scope_ends_as_cancelled() -> None:
    async with open_harness() as harness:
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with harness.client() as client:
                await ask(client, "x")
        assert scope.cancelled_caught
        assert harness.emulator.statistics().uploads == 0


async def test_a_bare_client_first_used_inside_a_cancelled_scope_can_be_closed() -> None:
    async with open_harness() as harness:
        client = harness.client()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ask(client, "x")
        assert scope.cancelled_caught
        await client.close()
        assert harness.emulator.statistics().uploads == 0


# ---- closing ----


async def test_closing_inside_a_cancelled_scope_still_closes_the_connections() -> None:
    async with open_harness() as harness:
        http = harness.emulator.http_client(library=SDK_LIBRARY)
        client = harness.client(http_client=http)
        await ask(client, "x")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await client.close()
        await anyio.wait_all_tasks_blocked()
        assert http.is_closed


async def test_closing_from_many_tasks_at_once_tells_everyone_and_leaves_nothing() -> None:
    async with open_harness(batch_seconds=500) as harness:
        client = harness.client(cancel_active_batches_on_close=True)
        outcomes: list[object] = []

        async def call(text: str) -> None:
            outcomes.append(await outcome_of(ask(client, text)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, "before")
            await wait_for_event(harness, "batch_submitted")
            for _ in range(5):
                tasks.start_soon(client.close)
                tasks.start_soon(call, "while closing")
        assert [type(outcome) for outcome in outcomes] == [ClientClosedError] * 6
        assert harness.emulator.statistics().running_batch_ids == ()


async def test_a_shutdown_is_bounded_however_slow_the_upstream_is() -> None:
    slow = (
        HttpFault(operation="batches.create", delay_seconds=10 * CREATE_SECONDS),
        HttpFault(operation="batches.list", delay_seconds=10 * SHUTDOWN_SECONDS),
    )
    async with open_harness(faults=FaultPlan(slow)) as harness:
        client = harness.client(cancel_active_batches_on_close=True)

        async def call() -> None:
            with pytest.raises(ClientClosedError):
                await ask(client, "x")

        async with anyio.create_task_group() as callers:
            callers.start_soon(call)
            await anyio.sleep(2)
            assert harness.emulator.statistics().http_calls["batches.create"] == 1
            start = anyio.current_time()
            await client.close()
            assert anyio.current_time() - start <= CREATE_SECONDS + SHUTDOWN_SECONDS + 1
        assert len(harness.events_named("batch_cancel_failed")) == 1


async def test_a_copy_outlives_another_but_not_the_client_it_was_made_from() -> None:
    async with open_harness() as harness:
        client = harness.client()
        first, second = client.with_options(max_retries=0), client.copy()
        assert "x" in await ask(first, "x")
        await first.close()
        with pytest.raises(ClientClosedError):
            await ask(first, "x")
        assert "x" in await ask(second, "x")
        await client.close()
        with pytest.raises(ClientClosedError):
            await ask(second, "x")
        for each in (second, client, first):
            await each.close()


# ---- any phase ----

PHASES: list[tuple[float, str, int]] = [  # when, which slow operation is under way then, batches created by it
    (0.5, "none", 0),
    (3, "files.create", 0),
    (3, "batches.create", 1),
    (4, "batches.retrieve", 1),
    (510, "files.content", 1),
]


class Program:
    """One call in a block, and its outcome."""

    def __init__(self, operation: str) -> None:
        slow = FaultPlan((HttpFault(operation=operation, delay_seconds=20),))
        self.harness = Harness(faults=slow, batch_seconds=500)
        self.outcome: object = None
        self.client: BatchOpenAI = self.harness.client(cancel_active_batches_on_close=True)

    async def run(self) -> None:
        try:
            async with self.client:
                self.outcome = await outcome_of(ask(self.client, "x"))
        except BaseException as left:
            self.outcome = left
            raise

    def check(self, kind: type[BaseException], batches_created: int) -> None:
        statistics = self.harness.emulator.statistics()
        self.harness.emulator.close()
        assert isinstance(self.outcome, kind)
        assert statistics.batches_created == batches_created
        assert statistics.running_batch_ids == ()


@pytest.mark.parametrize(("at", "operation", "batches_created"), PHASES)
async def test_closing_in_any_phase_tells_the_caller_and_leaves_nothing_running(
    at: float, operation: str, batches_created: int
) -> None:
    program = Program(operation)
    with anyio.fail_after(2000):
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(program.run)
            await anyio.sleep(at)
            await program.client.close()
    program.check(ClientClosedError, batches_created)


@pytest.mark.parametrize(("at", "operation", "batches_created"), PHASES)
async def test_a_block_cancelled_in_any_phase_leaves_nothing_running(
    at: float, operation: str, batches_created: int
) -> None:
    program = Program(operation)
    with anyio.fail_after(2000), anyio.move_on_after(at):
        await program.run()
    program.check(anyio.get_cancelled_exc_class(), batches_created)


@only_asyncio
@pytest.mark.parametrize(("at", "operation", "batches_created"), PHASES)
async def test_a_block_natively_cancelled_in_any_phase_leaves_nothing_running(
    at: float, operation: str, batches_created: int
) -> None:
    program = Program(operation)
    task = asyncio.create_task(program.run())
    await asyncio.sleep(at)
    task.cancel()
    await asyncio.wait([task], timeout=2000)
    assert task.cancelled()
    program.check(asyncio.CancelledError, batches_created)


@pytest.mark.parametrize("round_number", range(10))  # trio runs tasks in any order
async def test_an_engine_cancelled_together_with_its_callers_leaves_no_batch_running(round_number: int) -> None:
    async with open_harness(batch_seconds=500) as harness:
        client = harness.client()
        async with anyio.create_task_group() as nursery:
            await nursery.start(client.run)
            for _ in range(5):
                nursery.start_soon(ask, client, "x")
            await wait_for_event(harness, "batch_submitted")
            nursery.cancel_scope.cancel()
        assert harness.emulator.statistics().running_batch_ids == ()
        await client.close()


# ---- event loops that end, engines that are lost ----


def test_a_creation_cut_off_by_the_end_of_asyncio_is_told_about() -> None:
    harness = Harness(batch_seconds=500)
    kept: list[object] = []  # not collected before the loop ends

    async def answer(request: Any, send: Send) -> Any:
        if request.method == "POST" and request.url.path.endswith("/batches"):
            await anyio.sleep(5)
        return await send(request)

    async def main() -> None:
        client = harness.client(cancel_active_batches_on_close=True, http_client=between(harness, answer))
        kept.extend([client, asyncio.create_task(ask(client, "x"))])
        await asyncio.sleep(3)

    run_on("asyncio", main)
    (failed,) = harness.events_named("batch_cancel_failed")
    assert "its creation was cut off" in failed["error"]
    harness.emulator.close()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_program_that_returns_with_a_call_just_begun_sends_nothing(backend: str) -> None:
    harness = Harness()
    client = harness.client(cancel_active_batches_on_close=True)
    kept: list[object] = []

    async def main() -> None:
        if backend == "asyncio":
            kept.append(asyncio.create_task(ask(client, "x")))
        else:
            trio.lowlevel.spawn_system_task(ask, client, "x")

    run_on(backend, main)
    assert harness.emulator.statistics().uploads == 0
    harness.emulator.close()


@pytest.mark.real_time
def test_a_close_from_another_event_loop_lets_the_shutdown_happen() -> None:
    harness = Harness(batch_seconds=500)
    submitted, cancelled = threading.Event(), asyncio.Event()
    outcomes: list[object] = []

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "batch_submitted":
            submitted.set()
        if event["event"] == "batch_cancelled_upstream":
            cancelled.set()

    client = harness.client(
        cancel_active_batches_on_close=True,
        batch_window_seconds=0.01,
        poll_interval_seconds=0.05,
        batch_event_handler=listen,
    )

    async def main() -> None:
        outcomes.append(await outcome_of(ask(client, "x")))
        await cancelled.wait()

    thread = threading.Thread(target=lambda: asyncio.run(asyncio.wait_for(main(), 20)))
    thread.start()
    assert submitted.wait(10)
    asyncio.run(client.close())
    thread.join(25)
    assert not thread.is_alive()
    assert [type(outcome) for outcome in outcomes] == [ClientClosedError]
    assert harness.emulator.statistics().running_batch_ids == ()
    harness.emulator.close()


@only_asyncio
async def test_an_engine_cancelled_before_its_first_step_strands_nobody() -> None:
    async with open_harness() as harness:
        client = harness.client()
        caller = asyncio.create_task(ask(client, "x"))
        engines: list[asyncio.Task[Any]] = []
        while not engines:
            await asyncio.sleep(0)
            engines = [task for task in asyncio.all_tasks() if task.get_name() == "autobatcher engine"]
        engines[0].cancel()
        with anyio.fail_after(1000):
            with pytest.raises(ClientClosedError):
                await caller
            assert "again" in await ask(client, "again")
        await client.close()


async def test_a_dropped_client_ends_its_engine_also_where_warnings_are_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_harness() as harness:
        client = harness.client()
        await ask(client, "x")
        with monkeypatch.context() as patch, warnings.catch_warnings():
            patch.setattr(sys, "unraisablehook", lambda _: None)
            warnings.simplefilter("error", ResourceWarning)
            del client
            gc.collect()
        await wait_for_event(harness, "client_closing")


# ---- handlers ----


def raise_cancelled(event: dict[str, Any]) -> None:
    raise asyncio.CancelledError


@only_asyncio
async def test_a_handler_that_raises_cancelled_hurts_nobody() -> None:
    async with open_harness() as harness, harness.client(batch_event_handler=raise_cancelled) as client:
        assert "x" in await ask(client, "x")


@only_asyncio
async def test_a_handler_that_raises_cancelled_at_closing_strands_no_queued_caller() -> None:
    async with open_harness() as harness:
        client = harness.client(batch_event_handler=raise_cancelled, batch_window_seconds=1000)
        caller = asyncio.create_task(ask(client, "x"))
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(10):
            await client.close()
            with pytest.raises(ClientClosedError):
                await caller


@only_asyncio
async def test_a_handler_may_cancel_callers() -> None:
    callers: list[asyncio.Task[str]] = []

    def cancel_two(event: dict[str, Any]) -> None:
        if event["event"] == "batch_submitted":
            for caller in callers[:2]:
                caller.cancel()

    async with open_harness(batch_seconds=100) as harness, harness.client(batch_event_handler=cancel_two) as client:
        callers += [asyncio.create_task(ask(client, "x")) for _ in range(3)]
        await asyncio.wait(callers)
        assert [caller.cancelled() for caller in callers] == [True, True, False]
        assert "x" in callers[2].result()
