"""How the tests run the command line: as a process of its own, as a user does. Its upstream is in this one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO
from unittest.mock import patch

import trio
from anyio.from_thread import start_blocking_portal

from autobatcher.cli import main
from autobatcher.emulator import Emulator, FaultPlan
from autobatcher.emulator.app import serve_emulator

COMMAND = [sys.executable, "-m", "autobatcher"]
RUN_SECONDS = 100


def environment(**variables: str) -> dict[str, str]:
    """This process's, without what the developer's shell says about us, about OpenAI and about terminals."""
    ours = ("AUTOBATCHER_", "OPENAI_", "NO_COLOR", "FORCE_COLOR", "TTY_", "PYTHONWARNINGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **kept,
        "TERM": "xterm",
        "COLUMNS": "100",
        "LINES": "30",
        "PYTHONWARNINGS": "error::ResourceWarning",
        **variables,
    }


@contextmanager
def default_signals() -> Iterator[None]:
    """For processes that are started meanwhile: SIGINT and SIGHUP are not ignored, as they are under `nohup ... &`."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, off a terminal."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )


def run_here(*arguments: str, **variables: str) -> int:
    """The exit code of a command in this process, which is sooner done. What it prints is for `capfd`."""
    with patch.dict(os.environ, environment(**variables), clear=True):
        return main(arguments)


@contextmanager
def started(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """A command that runs while the block does, and is killed after it if it still does."""
    with default_signals():
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def emulator(*flags: str) -> Iterator[str]:
    """The base URL of what `autobatcher emulate` serves with these flags. In a thread: a process takes a second."""
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    faults = FaultPlan.load(Path(given.pop("--faults"))) if "--faults" in given else None
    seconds, api_key = float(given.pop("--batch-seconds", 0.0)), given.pop("--api-key", None)
    assert not given
    with (
        Emulator(batch_seconds=seconds, faults=faults, api_key=api_key) as upstream,
        start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(_served(upstream)) as url,
    ):
        yield f"{url}/v1"


@asynccontextmanager
async def _served(upstream: Emulator) -> AsyncGenerator[str]:
    async with trio.open_nursery() as nursery:
        url: str = await nursery.start(serve_emulator, upstream)
        yield url
        nursery.cancel_scope.cancel()


def read_until(process: subprocess.Popen[str], stream: str, wanted: str) -> str:
    """What the process writes, up to and including the first line with `wanted` in it."""
    lines: IO[str] = getattr(process, stream)
    text = ""
    for line in lines:
        text += line
        if wanted in line:
            return text
    raise AssertionError(f"{wanted!r} was never said; instead:\n{text}")


def find_url(text: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+/v1", text)
    assert found is not None, text
    return found[0]
