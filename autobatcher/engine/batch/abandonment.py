"""When a batch counts as abandoned: all callers have left, none came back in time, and no others wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from .pending import PendingRequests

COME_BACK_SECONDS = 60.0
"""How long a batch in a journal is kept after all its callers left. Callers who retry do so within seconds, and callers
who were cancelled together with the engine need the batch after the restart."""


class Abandonment:
    """Waits until a batch is abandoned and should be cancelled.

    Args:
        is_wanted: whether abandoned batches are cancelled at all (`cancel_abandoned_batches`).
        come_back_seconds: how long callers who left may come back.
        awaits_others: whether callers of another engine wait.
    """

    def __init__(
        self,
        pending: PendingRequests,
        *,
        is_wanted: bool,
        come_back_seconds: float,
        awaits_others: Callable[[], Awaitable[bool]],
    ) -> None:
        self._pending = pending
        self._is_wanted = is_wanted
        self._come_back_seconds = come_back_seconds
        self._awaits_others = awaits_others
        self._seen: anyio.Event | None = None  # the abandonment whose grace period runs
        self._over_at = 0.0

    async def happens_within(self, seconds: float) -> bool:
        """Wait up to `seconds`. Return True as soon as the batch is abandoned and its grace period is over."""
        if not self._is_wanted:
            await anyio.sleep(max(0.0, seconds))
            return False
        until, abandoned = anyio.current_time() + seconds, self._pending.abandoned
        with anyio.CancelScope(deadline=until):
            await abandoned.wait()
        if not abandoned.is_set():
            return False
        if self._seen is not abandoned:  # all left since the last call, perhaps not for the first time
            self._seen, self._over_at = abandoned, anyio.current_time() + self._come_back_seconds
        await anyio.sleep_until(min(until, self._over_at))
        if self._pending.abandoned is not abandoned or anyio.current_time() < self._over_at:
            return False
        if await self._awaits_others():
            self._seen = None  # look again after another grace period
            await anyio.sleep_until(until)
            return False
        return self._pending.abandoned is abandoned
