"""Ctrl-C: one line before the traceback says what was cancelled, what runs on, and how to take it up."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trio

from autobatcher import BatchOpenAI
from tests.harness import Harness, ask

from .test_sync import chat, open_client

pytestmark = pytest.mark.real_time

Main = Callable[[], Coroutine[Any, Any, None]]
QUICK: dict[str, Any] = {"batch_window_seconds": 0.01, "poll_interval_seconds": 0.01}


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def harness() -> Iterator[Harness]:
    harness = Harness(batch_seconds=1_000.0)
    yield harness
    harness.emulator.close()


def run_interrupted(backend: str, main: Main) -> None:
    """As a program does."""
    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as caught:
        asyncio.run(main()) if backend == "asyncio" else trio.run(main)
    error = caught.value
    assert not isinstance(error, BaseExceptionGroup) or error.subgroup(KeyboardInterrupt) is not None


async def press_when_running(client: BatchOpenAI) -> None:
    """Press Ctrl-C once there is a batch."""
    while not ((statistics := client.batch_statistics()) and statistics.active_batch_ids):  # noqa: ASYNC110
        await anyio.sleep(0.01)
    signal.raise_signal(signal.SIGINT)
    await anyio.lowlevel.checkpoint()


def in_a_block(harness: Harness, **settings: Any) -> Main:
    async def main() -> None:
        async with harness.client(**QUICK, **settings) as client, anyio.create_task_group() as callers:
            for number in range(3):
                callers.start_soon(ask, client, f"call {number}")
            callers.start_soon(press_when_running, client)

    return main


def in_a_nursery(harness: Harness) -> Main:
    async def main() -> None:
        client = harness.client(**QUICK)
        async with anyio.create_task_group() as nursery:
            await nursery.start(client.run)
            for number in range(3):
                nursery.start_soon(ask, client, f"call {number}")
            await press_when_running(client)
            await anyio.sleep(60)

    return main


def without_a_block(harness: Harness) -> Main:
    async def main() -> None:
        client = harness.client(**QUICK)
        async with anyio.create_task_group() as callers:
            for number in range(3):
                callers.start_soon(ask, client, f"call {number}")
            await press_when_running(client)
            await anyio.sleep(60)

    return main


def in_a_child_task(harness: Harness) -> Main:
    async def main() -> None:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(in_a_block(harness))
            await anyio.sleep(60)

    return main


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("program", [in_a_block, in_a_nursery, without_a_block, in_a_child_task])
def test_a_program_is_told_once_what_runs_on(
    backend: str, program: Callable[[Harness], Main], harness: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    run_interrupted(backend, program(harness))
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    (batch,) = harness.emulator.statistics().batches
    assert told.startswith("autobatcher: interrupted. 0 of 3 calls answered, 3 cancelled.")
    assert f"Cancelled upstream: batch {batch.id}. Nothing is left running upstream.\n" in told


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_batch_that_is_left_running_is_told_as_such(
    backend: str, harness: Harness, capsys: pytest.CaptureFixture[str]
) -> None:
    run_interrupted(backend, in_a_block(harness, cancel_abandoned_batches=False))
    told = capsys.readouterr().err
    (batch,) = harness.emulator.statistics().batches
    assert f"Left running upstream, and billed: batch {batch.id}. Nobody will read" in told
    assert "client.batches.cancel(id)" in told
    assert "journal=" in told


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_with_a_journal_it_is_told_how_to_go_on(
    backend: str, harness: Harness, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "journal.sqlite3"
    run_interrupted(backend, in_a_block(harness, journal=journal))
    told = capsys.readouterr().err
    assert f"Run the program again with the same journal ({journal}) to go on.\n" in told
    assert "Left running upstream" in told


def test_a_program_of_threads_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), open_client() as (_, client):  # noqa: PT012  (as a program has it)
        chat(client)
        signal.raise_signal(signal.SIGINT)
    assert capsys.readouterr().err.startswith("autobatcher: interrupted. 1 of 1 calls answered, 0 cancelled.")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_other_ends_are_told_nothing(backend: str, harness: Harness, capsys: pytest.CaptureFixture[str]) -> None:
    """A cancellation, an exception, and a program that handles signals itself, as servers do."""
    presses: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: presses.append(number))

    async def main() -> None:
        with anyio.move_on_after(0.2):
            await in_a_block(harness)()
        with pytest.raises(ZeroDivisionError):  # noqa: PT012  (as a program has it)
            async with harness.client(**QUICK) as client:
                await client.models.list()
                raise ZeroDivisionError
        assert presses

    asyncio.run(main()) if backend == "asyncio" else trio.run(main)
    assert capsys.readouterr().err == ""
