"""An emulator that has a process killed, and the plans that say when."""

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
    """When a process is killed.

    Attributes:
        phase: what it is just doing: one of `OPERATIONS`, or a word that it says ("queueing", "closing").
        count: at which of these operations.
        when: before or after the emulator has processed it, or some time after it was answered.
        seconds: how long after that.
    """

    phase: str
    count: int
    when: Literal["before", "after", "later"]
    seconds: float


def plan(seed: int) -> Plan:
    """Another point for each seed; the phases take turns."""
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
        """The base URL, while the block runs."""
        stop = trio.Event()
        async with trio.open_nursery() as self._nursery:
            with self:
                url = await self._nursery.start(partial(serve_emulator, self, shutdown_trigger=stop.wait))
                yield f"{url}/v1"
                stop.set()

    async def handle(self, request: Any) -> Any:
        """As any emulator, until it is time."""
        is_time = self._is_time(request)
        if is_time and self._plan.when == "before":
            self.kill()
            await trio.sleep(0.1)  # nobody hears the answer any more
            return await super().handle(request) if self._plan.count == 2 else await self._refused(request)
        reply = await super().handle(request)
        if is_time and self._plan.when == "after":
            self.kill()
        elif is_time:
            self._nursery.start_soon(self.kill_later, self._plan.seconds)
        return reply

    async def _refused(self, request: Any) -> Any:
        """The connection was cut before the request had come in whole."""
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
        """The process told us what it is doing."""
        if word == self._plan.phase and not self.has_killed:
            self._nursery.start_soon(self.kill_later, self._plan.seconds)

    async def kill_later(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, once."""
        if not self.has_killed and self.pid is not None:
            self.has_killed = True
            os.kill(self.pid, signal.SIGKILL)


def billed(statistics: Statistics) -> Counter[str]:
    """How often each prompt was paid for."""
    return Counter(line.body["messages"][0]["content"] for line in statistics.lines if line.billed)
