"""Fairness when thousands of tasks become ready at once: each pass of the event loop resumes a few."""

from __future__ import annotations

import trio


class FairQueue:
    """Resumes about `most` tasks in each pass of the event loop, in FIFO order. `run` must be running."""

    def __init__(self, most: int) -> None:
        self._most = self._slots = most
        self._queue = trio.lowlevel.ParkingLot()
        self._has_passed = trio.Event()

    async def pass_through(self) -> None:
        """Wait for a slot; usually one is free. Cancelled: the task leaves the queue without a slot."""
        self._has_passed.set()
        if self._slots > 0:
            self._slots -= 1
        else:
            await self._queue.park()

    async def run(self) -> None:
        """Free the slots in each pass of the event loop after one that took some, until cancelled."""
        while True:
            await self._has_passed.wait()
            released = self._queue.unpark(count=self._most)
            self._slots = self._most - len(released)
            if not released:
                self._has_passed = trio.Event()
