"""Twenty callers ask, each with a prompt of their own; then the program tells what each of them got.

A program here runs in an environment that has its library and nothing of ours; it takes a `Job` as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

WINDOW_SECONDS = 0.5
"""How long callers wait for others to share their batch."""

LEAVING_SECONDS = 15.0
"""How long a library may take to close. Then the process ends."""


@dataclass(frozen=True)
class Job:
    """What a program shall do.

    Attributes:
        folder: where the library may keep what a later run needs.
        prompts: the model and the text of each caller.
        poll_seconds: how often batches are polled.
        limit_seconds: who has no answer and no error by then has nothing.
        ends: "cancelled": all callers leave soon after there is a batch; "killed": the process dies then.
    """

    base_url: str
    folder: str
    prompts: list[tuple[str, str]]
    poll_seconds: float
    limit_seconds: float
    ends: str = ""

    def file(self, name: str) -> Path:
        return Path(self.folder) / name


@dataclass
class Told:
    """What each caller got, by prompt. `callers` are the tasks that wait; `ending` ends them."""

    answers: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    callers: list[asyncio.Task[Any]] = field(default_factory=list)
    ending: asyncio.Task[None] | None = None


Ask = Callable[[str, str], Awaitable[str]]
"""Takes a model and a prompt, gives the answer's text."""

AskAll = Callable[[Job, Told], Coroutine[Any, Any, None]]


def main(package: str, ask_all: AskAll) -> None:
    """Does the job of the command line, and prints what became of it. `package` is whose version is told."""
    asyncio.run(_main(package, Job(**json.loads(sys.argv[1])), ask_all))


async def ask_each(job: Job, told: Told, ask: Ask) -> None:
    """Each caller in a task, until the last one has something, or the limit."""
    told.callers = [asyncio.create_task(_note(told, text, ask(model, text))) for model, text in job.prompts]
    await asyncio.wait(told.callers, timeout=job.limit_seconds)
    if job.ends == "cancelled":
        await asyncio.sleep(1.0)  # the program goes on, while nobody waits any more
    for caller in told.callers:
        caller.cancel()
    await asyncio.wait(told.callers, timeout=1.0)


async def _note(told: Told, text: str, answer: Awaitable[str]) -> None:
    try:
        told.answers[text] = await answer
    except Exception as error:
        told.errors[text] = f"{type(error).__name__}: {error}"


async def _main(package: str, job: Job, ask_all: AskAll) -> None:
    told = Told()
    asking = asyncio.create_task(ask_all(job, told))
    told.ending = asyncio.create_task(_end(job, told))
    await asyncio.wait([asking], timeout=job.limit_seconds + LEAVING_SECONDS)
    if asking.done() and not asking.cancelled() and (error := asking.exception()) is not None:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    result = {"version": version(package), "answers": told.answers, "errors": told.errors}
    print(f"\n{json.dumps(result)}", flush=True)
    os._exit(0)  # tasks and threads of a library need not hold it up


async def _end(job: Job, told: Told) -> None:
    """Waits for the first batch, and a moment, and does what the job says."""
    if not job.ends:
        return
    await asyncio.to_thread(_wait_for_a_batch, job.base_url)
    if job.ends == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    for caller in told.callers:
        caller.cancel()


def _wait_for_a_batch(base_url: str) -> None:
    """... and for a moment more, so that the library knows of it, too."""
    while True:
        with urllib.request.urlopen(f"{base_url}/batches", timeout=5) as response:
            if json.load(response)["data"]:
                break
        time.sleep(0.1)
    time.sleep(0.5)
