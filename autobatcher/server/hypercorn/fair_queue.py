"""Fairness when thousands of tasks are woken at once: some of them go on, and then everybody else has a turn."""

from __future__ import annotations

import trio


class FairQueue:
    """Lets about `most` tasks go on in one pass of the event loop, and the others in the next ones, in their order.

    `run` must be running.
    """

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self._held_up = trio.lowlevel.ParkingLot()
        self._has_passed = trio.Event()

    async def pass_through(self) -> None:
        """Go on at once, usually. Cancelled: whoever comes next goes instead."""
        self._has_passed.set()
        if self._left > 0:
            self._left -= 1
        else:
            await self._held_up.park()

    async def run(self) -> None:
        """Open again in each pass after one in which somebody passed, until cancelled."""
        while True:
            await self._has_passed.wait()
            let_go = self._held_up.unpark(count=self._most)
            self._left = self._most - len(let_go)
            if not let_go:
                self._has_passed = trio.Event()
