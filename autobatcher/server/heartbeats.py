"""When clients are due for a heartbeat: in slots of time, so that thousands of timers cost little and stall nobody."""

from __future__ import annotations

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
        self._has_any = trio.Event()

    def add(self, waiter: Waiter, seconds: float) -> int:
        """Have `waiter.beat` called within so many seconds, and up to two slots earlier. Returns its slot."""
        slot = int((trio.current_time() + seconds) / SLOT_SECONDS)
        self._slots.setdefault(slot, {})[waiter] = None
        self._has_any.set()
        return slot

    def discard(self, waiter: Waiter, slot: int) -> None:
        """Forget the waiter of that slot."""
        self._slots.get(slot, {}).pop(waiter, None)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        task_status.started()
        while True:
            await self._has_any.wait()
            await trio.sleep(SLOT_SECONDS)
            await self._beat_until(int(trio.current_time() / SLOT_SECONDS) + 1)
            if not self._slots:
                self._has_any = trio.Event()

    async def _beat_until(self, last: int) -> None:
        for slot in sorted(slot for slot in self._slots if slot <= last):
            for number, waiter in enumerate(list(self._slots[slot]), 1):
                if waiter in self._slots[slot]:
                    await waiter.beat()
                if number % BEATS_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
            del self._slots[slot]
