"""What `serve` and `run` do with one signal after the other, and what they ask on a terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import trio
import trio.testing

from autobatcher.cli.command_stop import CommandStop
from autobatcher.cli.question import Question
from autobatcher.cli.signals import StopSignals
from autobatcher.cli.stopping import ProxyStop
from autobatcher.server import Drain, Report
from tests.cli.processes import COMMAND, default_signals, emulator, environment, find_url, read_until
from tests.cli.test_serve import CHAT, END_SECONDS, QUICK, ask_in_background, proxy, statuses
from tests.harness import Harness, ask, open_harness, outcome_of, wait_for_event
from tests.journal.restarts import Restarts

on_trio = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)


# ---- the order of things, without processes ----


class Asked(Question):
    """A user who answers with the same letter, or never."""

    def __init__(self, letter: str | None) -> None:
        super().__init__(ask_seconds=30)
        self.letter = letter
        self.texts: list[str] = []

    async def ask(self, text: str, letters: Collection[str]) -> str | None:
        self.texts.append(text)
        if self.letter is None:
            await trio.sleep_forever()
        assert self.letter in letters
        return self.letter


@pytest.fixture(autouse=True)
def _handlers_put_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Restarts:
    return Restarts(tmp_path / "journal.sqlite3", monkeypatch)


class World(NamedTuple):
    """A client with a batch that takes 100 seconds and is to be cancelled, and what would stop its proxy."""

    harness: Harness
    client: Any
    stop: ProxyStop
    signals: StopSignals

    def is_running(self) -> bool:
        return bool(self.harness.emulator.statistics().running_batch_ids)


@asynccontextmanager
async def open_world(
    question: Question | None = None, *, drain: float = 0.0, restarts: Restarts | None = None
) -> AsyncGenerator[World]:
    """With `restarts` the client has a journal."""
    async with open_harness(batch_seconds=100) as harness:
        make = harness.client if restarts is None else partial(restarts.client, harness)
        async with make(cancel_active_batches_on_close=True) as client, trio.open_nursery() as nursery:
            nursery.start_soon(outcome_of, ask(client, "x"))
            await wait_for_event(harness, "batch_submitted")
            yield World(harness, client, ProxyStop("serve", client, Drain(Report(), drain), question), StopSignals())
            await client.close()


async def stop_proxy(world: World) -> None:
    """What the server does."""
    await world.stop.stop.wait()
    await world.stop.drain.run(world.client)
    await world.client.close()


@on_trio
@pytest.mark.parametrize(("letter", "end"), [("w", "completed"), ("l", "in_progress"), ("c", "cancelled")])
async def test_what_the_user_chooses_becomes_of_running_batches(
    letter: str, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_world(Asked(letter)) as world, trio.open_nursery() as nursery:
        nursery.start_soon(world.stop.upon, world.signals, trio.CancelScope())
        world.signals.take(signal.SIGINT)
        await stop_proxy(world)
        batch = world.harness.emulator.statistics().batches[0]
        assert batch.status == end
        assert (f"left running: {batch.id}" in capsys.readouterr().err) is (letter == "l")  # there is no journal
        nursery.cancel_scope.cancel()


@on_trio
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_only_ctrl_c_asks_and_a_second_one_chooses_what_is_configured(number: signal.Signals) -> None:
    question = Asked(None)
    async with open_world(question, drain=50) as world, trio.open_nursery() as nursery:
        nursery.start_soon(world.stop.upon, world.signals, trio.CancelScope())
        begun = trio.current_time()
        world.signals.take(number)
        async with trio.open_nursery() as proxy:
            proxy.start_soon(stop_proxy, world)
            await trio.testing.wait_all_tasks_blocked()
            assert len(question.texts) == (number is signal.SIGINT)
            world.signals.take(signal.SIGINT)
        assert trio.current_time() - begun < 1  # no drain, either
        assert not world.is_running()
        nursery.cancel_scope.cancel()


@on_trio
async def test_the_question_goes_away_when_all_is_answered_and_its_end_starts_the_drain() -> None:
    async with open_world(Asked(None), drain=50) as world, trio.open_nursery() as nursery:
        nursery.start_soon(world.stop.upon, world.signals, trio.CancelScope())
        begun = trio.current_time()
        world.signals.take(signal.SIGINT)
        await stop_proxy(world)
        assert 90 < trio.current_time() - begun < 110
        assert world.harness.events_named("batch_completed")
        nursery.cancel_scope.cancel()


@on_trio
@pytest.mark.parametrize("has_journal", [False, True])
async def test_after_its_command_run_waits_only_if_a_journal_keeps_the_answers(
    has_journal: bool, restarts: Restarts
) -> None:
    question = Asked("l")
    async with open_world(question, restarts=restarts if has_journal else None) as world:
        world.signals.take(signal.SIGINT)
        await CommandStop(world.stop, world.client).command_ended(world.signals, 130)
        await stop_proxy(world)
        assert world.is_running()
    assert ("wait for the answers" in question.texts[0]) == has_journal
    assert ("although nobody reads them" in question.texts[0]) != has_journal


@on_trio
async def test_run_cancels_journaled_batches_if_the_user_says_so(restarts: Restarts) -> None:
    async with open_world(Asked("c"), restarts=restarts) as world:
        world.signals.take(signal.SIGINT)
        await CommandStop(world.stop, world.client).command_ended(world.signals, 130)
        await stop_proxy(world)
        assert not world.is_running()


@on_trio
async def test_a_drain_of_run_ends_with_its_command() -> None:
    async with open_world(drain=50) as world, trio.open_nursery() as nursery:
        ending, begun = CommandStop(world.stop, world.client), trio.current_time()
        nursery.start_soon(ending.upon, world.signals)
        nursery.start_soon(stop_proxy, world)
        world.signals.take(signal.SIGTERM)
        await trio.sleep(20)
        assert world.is_running()  # the command goes on, and so does what it asked
        await ending.command_ended(world.signals, 0)
        await world.client._engine.host.batcher.wait_ended()
        assert trio.current_time() - begun < 25
        nursery.cancel_scope.cancel()


def test_a_closed_terminal_counts_once_however_often_it_is_told() -> None:
    signals = StopSignals()
    for _ in range(3):
        signals.take(signal.SIGHUP)
    assert signals.first is signal.SIGHUP
    assert not signals.hurried.is_set()


# ---- as processes ----


@pytest.mark.real_time
def test_the_first_signal_drains_the_second_closes_the_third_ends_the_process(tmp_path: Path) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps({"faults": [{"level": "http", "operation": "batches.cancel", "delay_seconds": 600}]}))
    with (
        emulator("--batch-seconds", "600", "--faults", str(faults)) as upstream,
        proxy(upstream, "--drain", "10m") as (process, url),
        ask_in_background(url, 1) as results,
    ):
        read_until(process, "stdout", "batch_submitted")
        process.send_signal(signal.SIGTERM)
        read_until(process, "stderr", "shutting down: waiting for up to 10m; calls without an answer: 1.")
        late = httpx.post(f"{url}/v1/chat/completions", json=CHAT)
        assert (late.status_code, late.headers["connection"]) == (503, "close")
        assert httpx.get(f"{url}/ready").json() == {"ready": False, "reason": "shutting down"}
        assert not results
        process.send_signal(signal.SIGTERM)
        read_until(process, "stderr", "One more signal ends the process; batches that may run on then: 1.")
        while not results:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_SECONDS) == -signal.SIGTERM
    assert results[0].status_code == 503


class OnTerminal:
    """A process whose terminal this is: the one end; its other end is the process's."""

    def __init__(self, process: subprocess.Popen[bytes], end: int) -> None:
        self.process = process
        self._end = end
        self._shown = ""

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def read_until(self, wanted: str) -> str:
        """What is shown from the end of the last such text on, up to and including `wanted`."""
        while wanted not in self._shown:
            try:
                self._shown += os.read(self._end, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(f"{wanted!r} was never shown; instead:\n{self._shown}") from None
        before, found, self._shown = self._shown.partition(wanted)
        return before + found


@contextmanager
def on_terminal(*command: str) -> Iterator[OnTerminal]:
    ours, theirs = pty.openpty()
    take = (
        f"import fcntl, os, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv({command[0]!r}, {list(command)!r})"
    )
    with (
        default_signals(),
        subprocess.Popen(
            [sys.executable, "-c", take],
            env=environment(),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        ) as process,
    ):
        os.close(theirs)
        try:
            yield OnTerminal(process, ours)
        finally:
            process.kill()
            os.close(ours)


@pytest.mark.real_time
def test_a_question_takes_a_letter_and_no_longer_than_it_may() -> None:
    script = (
        "import trio\n"
        "from autobatcher.cli.question import Question\n"
        "for seconds in (0.1, 600, 600):\n"
        "    print('got', trio.run(Question(0, ask_seconds=seconds).ask, 'w/l? ', 'wl'), flush=True)\n"
        "async def hurried():\n"
        "    with trio.move_on_after(0.1):\n"
        "        await Question(0).ask('w/l? ', 'wl')\n"
        "trio.run(hurried)\n"
        "print('stopping now', flush=True)\n"
    )
    with on_terminal(sys.executable, "-c", script) as terminal:
        terminal.read_until("got None")  # nobody answered
        terminal.read_until("w/l? ")
        terminal.type("\x04")
        terminal.read_until("got None")  # nobody can
        terminal.read_until("w/l? ")
        terminal.type("neither\n")
        terminal.read_until("w/l? ")
        terminal.type(" Leave\n")
        terminal.read_until("got l")
        assert "w/l? \r\nstopping now" in terminal.read_until("stopping now")


@pytest.mark.proves("faults", "Ctrl-C at the terminal of `serve` or `run` while paid batches run")
@pytest.mark.real_time
def test_ctrl_c_at_a_terminal_asks_below_a_picture_that_stands_still() -> None:
    flags = ("--port", "0", "--api-key", "k", *QUICK)
    with (
        emulator("--batch-seconds", "3") as upstream,
        on_terminal(*COMMAND, "serve", "--base-url", upstream, *flags) as terminal,
    ):
        url = find_url(terminal.read_until("/v1 ->")).removesuffix("/v1")
        with ask_in_background(url, 2) as results:
            while not httpx.get(f"{url}/status").json()["active_batches"]:
                pass
            terminal.type("\x03")
            terminal.read_until("w/l/c? ")
            asked_at = httpx.get(f"{url}/status").json()["seconds"]
            while httpx.get(f"{url}/status").json()["seconds"] < asked_at + 0.5:  # the picture has ten states a second
                pass
            terminal.type("x\n")
            shown = terminal.read_until("w/l/c? ")
            assert "1 paid batch running, 2 calls waiting." in shown
            assert "\x1b[1A" not in shown  # the picture would be painted over the question
            terminal.type("w\n")
            terminal.read_until("shutting down: waiting; calls without an answer: 2. Another signal ends that.")
            assert "\x1b[1A" not in terminal.read_until("of 2 calls answered")  # it goes on below
        assert [result.status_code for result in results] == [200, 200]
        assert terminal.process.wait(END_SECONDS) == 0


@pytest.mark.real_time
def test_ctrl_c_that_ends_the_command_of_run_asks_too() -> None:
    script = (
        "import openai, signal\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "openai.OpenAI().chat.completions.create(model='m', messages=[{'role': 'user', 'content': 'x'}])\n"
    )
    flags = ("--api-key", "k", *QUICK, "--events", "/dev/stderr")
    with (
        emulator("--batch-seconds", "600") as upstream,
        on_terminal(*COMMAND, "run", "--base-url", upstream, *flags, "--", sys.executable, "-c", script) as terminal,
    ):
        terminal.read_until("batch_submitted")
        terminal.type("\x03")
        assert "cancel the batches, and stop" in terminal.read_until("l/c? ")
        terminal.type("l\n")
        terminal.read_until("autobatcher run: time")
        assert terminal.process.wait(END_SECONDS) == 128 + signal.SIGINT
        assert statuses(upstream)[0] in ("validating", "in_progress")
