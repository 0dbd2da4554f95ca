"""Who runs the engine, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import anyio
import openai
import pytest
import trio
from trio.testing import MockClock

from autobatcher import BatchOpenAI, ClientClosedError, EngineError
from autobatcher.emulator import FaultPlan, HttpFault
from tests.conftest import VirtualTimeLoop
from tests.harness import Harness, ask, open_harness, wait_for_event


async def test_a_block_owns_the_engine() -> None:
    async with open_harness() as harness:
        async with harness.client() as client:
            assert "x" in await ask(client, "x")
        assert client.is_closed()
        with pytest.raises(ClientClosedError):
            await ask(client, "x")


async def test_a_nursery_of_the_callers_own_owns_the_engine() -> None:
    async with open_harness() as harness:
        client = harness.client()
        async with anyio.create_task_group() as nursery:
            await nursery.start(client.run)
            with pytest.raises(RuntimeError, match="already running"):
                await client.run()
            assert "x" in await ask(client, "x")
            nursery.cancel_scope.cancel()
        with pytest.raises(ClientClosedError):
            await ask(client, "x")
        await client.close()


async def test_closing_the_client_ends_its_run() -> None:
    async with open_harness() as harness:
        client = harness.client()
        async with anyio.create_task_group() as nursery:
            await nursery.start(client.run)
            assert "x" in await ask(client, "x")
            await client.close()  # or the nursery would never end


async def test_a_bare_client_works_until_it_is_closed() -> None:
    async with open_harness() as harness:
        client = harness.client()
        assert "x" in await ask(client, "x")
        await client.close()
        await client.close()
        assert client.is_closed()
        with pytest.raises(ClientClosedError):
            await ask(client, "x")


async def test_a_client_that_was_never_used_closes() -> None:
    async with open_harness() as harness:
        await harness.client().close()
        async with harness.client():
            pass


async def test_two_clients_in_one_program_keep_to_themselves() -> None:
    async with open_harness() as one, open_harness() as two, one.client() as first, two.client() as second:
        async with anyio.create_task_group() as callers:
            callers.start_soon(ask, first, "one")
            callers.start_soon(ask, second, "two")
        for harness, text in ((one, "one"), (two, "two")):
            assert [body["messages"][0]["content"] for body in harness.bodies_sent()] == [text]


async def test_a_client_is_used_from_nested_task_groups() -> None:
    async with open_harness() as harness, harness.client() as client:

        async def inner() -> None:
            async with anyio.create_task_group() as callers:
                callers.start_soon(ask, client, "a")
                callers.start_soon(ask, client, "b")

        async with anyio.create_task_group() as outer:
            outer.start_soon(inner)
            outer.start_soon(inner)
        assert harness.emulator.statistics().batches_created == 1


async def test_copies_share_the_engine_and_the_queue() -> None:
    async with open_harness() as harness, harness.client() as client:
        copies = [
            client.with_options(timeout=5),
            client.copy(max_retries=0),
            client.with_options().with_options(),
        ]
        async with anyio.create_task_group() as callers:
            for each in (client, *copies):
                assert isinstance(each, BatchOpenAI)
                callers.start_soon(ask, each, "x")
        assert harness.emulator.statistics().batches_created == 1
        await copies[0].close()
        async with copies[1]:
            pass
        assert copies[0].is_closed()
        assert not client.is_closed()
        assert "still here" in await ask(client, "still here")


async def test_a_copy_with_the_clients_own_http_client_goes_on_batching() -> None:
    """pydantic-ai makes copies this way."""
    async with open_harness() as harness, harness.client() as client:
        copied = client.with_options(http_client=client._client, max_retries=1)
        assert "x" in await ask(copied, "x")


async def test_copies_with_another_key_share_the_engine_but_no_batch() -> None:
    async with open_harness() as harness, harness.client() as client:
        other = client.with_options(api_key="other-key")
        async with anyio.create_task_group() as callers:
            callers.start_soon(ask, client, "x")
            callers.start_soon(ask, other, "x")
        assert harness.emulator.statistics().batches_created == 2


async def test_a_key_that_is_a_function_is_asked_anew_for_each_upstream_call() -> None:
    keys = iter(f"key-{i}" for i in range(100))
    asked: list[str] = []

    async def fresh_key() -> str:
        asked.append(next(keys))
        return asked[-1]

    async with open_harness() as harness, harness.client(api_key=fresh_key) as client:
        assert "x" in await ask(client, "x")
    assert len(asked) >= 4  # the call, the upload, the creation, a poll, ...


class Unusual(BaseException):
    """An exception that no library handles."""


@pytest.mark.parametrize(
    "raised",
    [
        *(ValueError("mine"), KeyboardInterrupt(), SystemExit(3), StopAsyncIteration(), Unusual()),
        *(BaseExceptionGroup("g", [KeyboardInterrupt()]), ExceptionGroup("g", [ValueError()])),
    ],
    ids=repr,
)
async def test_an_exception_of_the_block_comes_out_as_it_is(raised: BaseException) -> None:
    async with open_harness() as harness:
        with pytest.raises(type(raised)) as caught:
            async with harness.client():
                raise raised
        assert caught.value is raised


async def test_a_block_that_is_cancelled_ends_as_cancelled() -> None:
    async with open_harness() as harness:
        with anyio.move_on_after(1) as scope:
            async with harness.client() as client:
                await ask(client, "x")
        assert scope.cancelled_caught


@pytest.mark.parametrize("asked_to_cancel", [True, False])
async def test_closing_tells_every_waiting_caller_and_cancels_upstream_only_if_asked(
    asked_to_cancel: bool,
) -> None:
    async with open_harness(batch_seconds=500) as harness:
        errors: list[ClientClosedError] = []
        client = harness.client(cancel_active_batches_on_close=asked_to_cancel)

        async def call(model: str) -> None:
            with pytest.raises(ClientClosedError) as caught:
                await ask(client, "x", model)
            errors.append(caught.value)

        async with anyio.create_task_group() as callers:
            callers.start_soon(call, "a")
            callers.start_soon(call, "a")
            await wait_for_event(harness, "batch_submitted")
            callers.start_soon(call, "b")  # still queued when the client closes
            await anyio.wait_all_tasks_blocked()
            await client.close()
        running = harness.emulator.statistics().running_batch_ids
        assert len(errors) == 3
        batch_id = harness.events_named("batch_submitted")[0]["batch_id"]
        assert sorted(str(error.batch_id) for error in errors) == sorted([batch_id, batch_id, "None"])
        assert running == (() if asked_to_cancel else (batch_id,))
        assert len(harness.events_named("batch_cancelled_upstream")) == int(asked_to_cancel)
        (closing,) = harness.events_named("client_closing")
        assert closing["pending_request_count"] == 3
        assert closing["active_batch_ids"] == [batch_id]
        assert harness.emulator.statistics().batches_created == 1  # the queued one was never sent


async def test_a_creation_on_its_way_while_the_client_closes_is_not_left_behind() -> None:
    slow = FaultPlan((HttpFault(operation="batches.create", delay_seconds=10),))
    async with open_harness(faults=slow, batch_seconds=500) as harness:
        client = harness.client(cancel_active_batches_on_close=True)
        async with anyio.create_task_group() as callers:

            async def call() -> None:
                with pytest.raises(ClientClosedError):
                    await ask(client, "x")

            callers.start_soon(call)
            await anyio.sleep(5)  # the window took 1 s; the creation is on its way until 11 s
            assert harness.emulator.statistics().http_calls["batches.create"] == 1
            assert harness.emulator.statistics().batches_created == 0
            await client.close()
        assert harness.emulator.statistics().batches_created == 1
        assert harness.emulator.statistics().running_batch_ids == ()


def run_on(backend: str, main: Callable[[], Awaitable[Any]]) -> None:
    """A whole program of its own, on virtual time."""
    if backend == "trio":
        trio.run(main, clock=MockClock(autojump_threshold=0))
    else:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(main())  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_program_that_returns_without_closing_still_cancels_upstream_if_it_asked_to(backend: str) -> None:
    harness = Harness(batch_seconds=500)

    async def main() -> None:
        client = harness.client(cancel_active_batches_on_close=True)
        with anyio.move_on_after(50):
            async with anyio.create_task_group() as callers:
                callers.start_soon(ask, client, "x")
                await wait_for_event(harness, "batch_submitted")
                harness.kept = client  # type: ignore[attr-defined]  # not collected before the loop ends
                return

    run_on(backend, main)
    assert harness.emulator.statistics().batches_created == 1
    assert harness.emulator.statistics().running_batch_ids == ()
    harness.emulator.close()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_bare_client_can_be_used_again_in_a_second_event_loop(backend: str) -> None:
    harness = Harness()
    client = harness.client()

    async def main() -> None:
        assert "x" in await ask(client, "x")

    run_on(backend, main)
    run_on(backend, main)
    assert harness.emulator.statistics().batches_created == 2
    harness.emulator.close()


async def test_a_bare_client_that_is_dropped_warns_and_ends_its_engine() -> None:
    async with open_harness() as harness:
        client = harness.client()
        await ask(client, "x")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            del client
            gc.collect()
        assert any("never closed" in str(warning.message) for warning in caught)
        await wait_for_event(harness, "client_closing")


async def test_the_background_engine_has_nothing_of_its_first_callers_context() -> None:
    request_id: ContextVar[str] = ContextVar("request_id", default="nobody's")
    seen: list[str] = []
    async with open_harness() as harness:
        client = harness.client(batch_event_handler=lambda _: seen.append(request_id.get()))
        request_id.set("the first caller's")
        await ask(client, "x")
        await client.close()
    assert set(seen) == {"nobody's"}


async def test_a_defect_of_ours_is_told_as_such_and_the_program_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_harness() as harness, harness.client() as client:
        with monkeypatch.context() as patch:
            patch.setattr("autobatcher.engine.batch.results.ResultReader.read_everything", broken)
            with pytest.raises(EngineError, match="report") as caught:
                await ask(client, "x")
            assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert "y" in await ask(client, "y")


async def test_a_defect_before_a_batch_begins_leaves_no_waiter_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_harness() as harness, harness.client() as client:
        with monkeypatch.context() as patch:
            patch.setattr("autobatcher.engine.batcher.Batch", broken)
            with pytest.raises(EngineError):
                await ask(client, "x")
        assert "y" in await ask(client, "y")


async def test_a_defect_that_stops_the_engine_leaves_no_waiter_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_harness() as harness, harness.client() as client:
        monkeypatch.setattr("autobatcher.engine.queue.windows.Windows.due", broken)
        with pytest.raises(openai.APIError):
            await ask(client, "x")
        with pytest.raises(ClientClosedError):
            await ask(client, "y")


def broken(*args: object, **kwargs: object) -> None:
    raise ZeroDivisionError("a bug")
