"""How many requests waited, and how many were done, minute by minute: for the chart on the page."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import trio

MINUTE = 60.0
MINUTES = 120
"""How many minutes are remembered."""


class Counts(NamedTuple):
    """How many requests wait, and how many were answered and failed since the start."""

    waiting: int
    answered: int
    failed: int


class History:
    """The last minutes of a proxy. After a restart it begins anew.

    Args:
        count: returns the counts of now.
        clock: seconds of a monotonic clock.
    """

    def __init__(self, count: Callable[[], Counts], clock: Callable[[], float] = trio.current_time) -> None:
        self._count = count
        self._clock = clock
        self._samples: deque[Counts | None] = deque(maxlen=MINUTES)
        self._at_last_sample = Counts(0, 0, 0)
        self._begun_at = math.inf

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take a sample each minute, until cancelled."""
        self.begin()
        task_status.started()
        while True:
            await trio.sleep_until(self._begun_at + MINUTE)
            self.sample()

    def begin(self) -> None:
        """The first minute begins."""
        self._begun_at = self._clock()

    def sample(self) -> None:
        """A minute is over. Those in which the process was paused have no sample."""
        minutes = max(1, int((self._clock() - self._begun_at) // MINUTE))
        self._begun_at += minutes * MINUTE
        self._samples.extend([None] * min(minutes - 1, MINUTES))
        now = self._count()
        self._samples.append(self._since_last_sample(now))
        self._at_last_sample = now

    def _since_last_sample(self, now: Counts) -> Counts:
        then = self._at_last_sample
        return Counts(now.waiting, now.answered - then.answered, now.failed - then.failed)

    def fields(self, now: Counts) -> dict[str, Any]:
        """The minutes as JSON types, the oldest first; the last one is not over. None: nothing is known of it."""
        samples = [*self._samples, self._since_last_sample(now)]
        return {
            "waiting": [None if each is None else each.waiting for each in samples],
            "answered": [None if each is None else each.answered for each in samples],
            "failed": [None if each is None else each.failed for each in samples],
        }
