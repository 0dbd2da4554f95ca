"""Target: files that are said to be journals. Each case has a process of its own, which may be killed."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import trio

from autobatcher.emulator import Emulator
from autobatcher.emulator.app import serve_emulator

from .journal_commands import COMMANDS, JournalCase, tell_all
from .journal_files import MUTATIONS, make_journal
from .process import cpu_seconds
from .target import Case, Play, Target
from .watch import Watch

CASES = 3
COMMAND_SECONDS = 40.0
"""Of the CPU time of the case's process, for one command. A busy machine makes no hang."""

SLEEP_SECONDS = 300.0
"""Of any time, for one command: a process that waits for ever uses no CPU."""

LOOK_SECONDS = 1.0
START_SECONDS = 120.0


def target() -> Target:
    return Target("journal", cases, _open)


def cases(random: Random) -> list[JournalCase]:
    return [
        JournalCase(
            tuple((random.choice(list(MUTATIONS)), random.randrange(10**6)) for _ in range(random.choice([1, 1, 2]))),
            tuple(random.sample(COMMANDS, 4)),
        )
        for _ in range(CASES)
    ]


@contextmanager
def _open(watch: Watch) -> Iterator[Play]:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.fuzz.journal_commands"])
    with _upstream() as url, TemporaryDirectory(prefix="fuzz-journal-") as folder:
        template = Path(folder) / "template.sqlite3"
        make_journal(template, url)

        def play(journals: list[Case]) -> None:
            for case in journals:
                _play(case, template, url, processes, watch)

        yield play


def _play(case: JournalCase, template: Path, url: str, processes: Any, watch: Watch) -> None:
    """All commands of the case in one process. Whatever is wrong comes back through the pipe."""
    told, telling = processes.Pipe(duplex=False)
    at_work = "the start"
    with TemporaryDirectory(dir=template.parent) as folder:  # a process that is killed leaves its files
        process = processes.Process(target=tell_all, args=(case, template, Path(folder), url, telling))
        process.start()
        telling.close()
        try:
            for kind, where, text in _messages(told, process.pid):
                if kind == "begins":
                    at_work = where
                else:
                    watch.report(kind, where, f"{text}\n{case}")
        except TimeoutError as error:
            watch.report("hang", at_work, f"{error}: {case}")
            process.kill()
        process.join()
    told.close()
    if process.exitcode not in (0, -9):
        watch.report("crash", at_work, f"the process ended with {process.exitcode}: {case}")
    process.close()


def _messages(told: Any, pid: int) -> Iterator[tuple[str, str, str]]:
    """What a process tells, until it ends. Raises TimeoutError if it works or sleeps for too long between two."""
    begun, begun_cpu = time.monotonic(), cpu_seconds(pid)
    while True:
        if told.poll(LOOK_SECONDS):
            try:
                message = told.recv()
            except EOFError:
                return
            yield message
            begun, begun_cpu = time.monotonic(), cpu_seconds(pid)
        elif cpu_seconds(pid) - begun_cpu > COMMAND_SECONDS:
            raise TimeoutError(f"no end within {COMMAND_SECONDS} s of CPU time")
        elif time.monotonic() - begun > SLEEP_SECONDS:
            raise TimeoutError(f"no end within {SLEEP_SECONDS} s")


@contextmanager
def _upstream() -> Iterator[str]:
    """An emulator on a socket, in a thread."""
    urls: list[str] = []
    has_started = threading.Event()
    stop: list[Any] = []

    async def serve() -> None:
        with Emulator() as emulator:
            async with trio.open_nursery() as nursery:
                urls.append(await nursery.start(serve_emulator, emulator))
                stop.append((trio.lowlevel.current_trio_token(), nursery.cancel_scope.cancel))
                has_started.set()

    thread = threading.Thread(target=trio.run, args=(serve,), name="upstream")
    thread.start()
    assert has_started.wait(START_SECONDS)
    try:
        yield f"{urls[0]}/v1"
    finally:
        token, cancel = stop[0]
        trio.from_thread.run_sync(cancel, trio_token=token)
        thread.join()
