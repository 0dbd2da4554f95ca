"""An emulator that kills a process, at a time given by a plan."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import trio

from autobatcher.emulator import Emulator, Statistics
from autobatcher.emulator.app import serve_emulator

OPERATIONS = {
    "uploading": ("POST", "/files"),
    "creating": ("POST", "/batches"),
    "polling": ("GET", "/batches/"),
    "reading": ("GET", "/content"),
    "cleaning up": ("DELETE", "/files/"),
}


@dataclass(frozen=True)
class Plan:
    """When to kill a process.

    Attributes:
        phase: what the process is doing: one of `OPERATIONS`, or a word that it prints ("queueing", "closing").
        count: at which of these operations.
        when: before or after the emulator processes it, or some time after the response.
        seconds: how long after the response.
    """

    phase: str
    count: int
    when: Literal["before", "after", "later"]
    seconds: float


def plan(seed: int) -> Plan:
    """Return a different plan for each seed, cycling through the phases."""
    dice = random.Random(seed)
    phases = ("queueing", *OPERATIONS, "closing")
    when: Any = dice.choice(("before", "after", "later"))
    return Plan(phases[seed % len(phases)], dice.randint(1, 3), when, dice.random() ** 3 * 0.5)


class Killer(Emulator):
    """Carries out a plan on a process, once."""

    def __init__(self, plan: Plan, **options: Any) -> None:
        super().__init__(**options)
        self.pid: int | None = None
        self.has_killed = False
        self._plan = plan
        self._seen = 0
        self._nursery: trio.Nursery

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve while the block runs; yields the base URL."""
        stop = trio.Event()
        async with trio.open_nursery() as self._nursery:
            with self:
                url = await self._nursery.start(partial(serve_emulator, self, shutdown_trigger=stop.wait))
                yield f"{url}/v1"
                stop.set()

    async def handle(self, request: Any) -> Any:
        """Handle a request like any emulator, and kill the process when it is time."""
        is_time = self._is_time(request)
        if is_time and self._plan.when == "before":
            self.kill()
            await trio.sleep(0.1)  # the response reaches nobody
            return await super().handle(request) if self._plan.count == 2 else await self._refused(request)
        reply = await super().handle(request)
        if is_time and self._plan.when == "after":
            self.kill()
        elif is_time:
            self._nursery.start_soon(self.kill_later, self._plan.seconds)
        return reply

    async def _refused(self, request: Any) -> Any:
        """The connection was cut before the request was complete."""
        return await super().handle(type(request)("GET", "/nothing", {}, {}, b""))

    def _is_time(self, request: Any) -> bool:
        method, part = OPERATIONS.get(self._plan.phase, ("", "?"))
        if self.pid is None or request.method != method or part not in request.path:
            return False
        if self._plan.phase == "uploading" and "/content" in request.path:
            return False
        self._seen += 1
        return self._seen == self._plan.count

    def said(self, word: str) -> None:
        """The process printed what it is doing."""
        if word == self._plan.phase and not self.has_killed:
            self._nursery.start_soon(self.kill_later, self._plan.seconds)

    async def kill_later(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self.kill()

    def kill(self) -> None:
        """Send SIGKILL, once."""
        if not self.has_killed and self.pid is not None:
            self.has_killed = True
            os.kill(self.pid, signal.SIGKILL)


def billed(statistics: Statistics) -> Counter[str]:
    """How often each prompt was billed."""
    return Counter(line.body["messages"][0]["content"] for line in statistics.lines if line.billed)
