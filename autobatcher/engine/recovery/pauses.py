"""Notices that the process was paused: its clients may have left, and may have asked another engine meanwhile."""

from __future__ import annotations

import anyio

TICK_SECONDS = 0.5

PAUSE_SECONDS = 2.0
"""A tick that is this late means that the process was paused, or too busy to read its sockets. Clients that time out
wait longer."""

SETTLE_SECONDS = 1.0
"""How long after a pause the event loop must run until what waits in the sockets was read."""


class Pauses:
    """Ticks, as long as `run` runs."""

    def __init__(self) -> None:
        self._ticked_at = float("inf")
        self._settled_at = 0.0

    async def run(self) -> None:
        """Tick, until cancelled."""
        while True:
            self._note(anyio.current_time())
            await anyio.sleep(TICK_SECONDS)

    async def settle(self) -> None:
        """Wait until whoever left during a pause is known to have left. Without a pause, go on at once."""
        self._note(anyio.current_time())
        await anyio.sleep_until(self._settled_at)

    def interrupted(self) -> None:
        """There was a pause of some kind."""
        self._settled_at = anyio.current_time() + SETTLE_SECONDS

    def _note(self, now: float) -> None:
        if now - self._ticked_at > PAUSE_SECONDS:
            self.interrupted()
        self._ticked_at = now
