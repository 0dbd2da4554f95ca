"""When clients are due for a heartbeat: in slots of time, so that thousands of timers cost little and stall nobody."""

from __future__ import annotations

import math
from typing import Protocol

import trio

SLOT_SECONDS = 0.05
"""Heartbeats come up to two slots earlier than they must."""

BEATS_AT_ONCE = 100
"""In one pass of the event loop. Each takes 20 microseconds."""


class Waiter(Protocol):
    """Who gets heartbeats."""

    async def beat(self) -> None:
        """A heartbeat is due. Never waits, never raises."""


class Heartbeats:
    """Tells each waiter once when its heartbeat is due. `run` must be running."""

    def __init__(self) -> None:
        self._slots: dict[int, dict[Waiter, None]] = {}
        self._sleep = trio.CancelScope()

    def add(self, waiter: Waiter, seconds: float) -> int:
        """Have `waiter.beat` called within so many seconds, and up to two slots earlier. Returns its slot."""
        slot = int((trio.current_time() + seconds) / SLOT_SECONDS)
        if slot not in self._slots:
            self._slots[slot] = {}
            self._sleep.deadline = min(self._sleep.deadline, _beginning(slot))
        self._slots[slot][waiter] = None
        return slot

    def discard(self, waiter: Waiter, slot: int) -> None:
        """Forget the waiter of that slot."""
        waiters = self._slots.get(slot, {})
        waiters.pop(waiter, None)
        if not waiters:
            self._slots.pop(slot, None)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        task_status.started()
        while True:
            with trio.CancelScope(deadline=min(map(_beginning, self._slots), default=math.inf)) as self._sleep:
                await trio.sleep_forever()
            await self._beat_until(trio.current_time())

    async def _beat_until(self, now: float) -> None:
        for slot in sorted(slot for slot in self._slots if _beginning(slot) <= now):
            waiters = self._slots.get(slot, {})
            for number, waiter in enumerate(list(waiters), 1):
                if waiter in waiters:
                    await waiter.beat()
                if number % BEATS_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
            self._slots.pop(slot, None)


def _beginning(slot: int) -> float:
    """When the slot before it begins."""
    return (slot - 1) * SLOT_SECONDS
