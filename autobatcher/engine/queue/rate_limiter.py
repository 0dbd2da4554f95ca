"""Limits how often batches are created. Pure."""

from __future__ import annotations

from collections import deque

HOUR = 3600.0


class RateLimiter:
    """Allows `max_per_hour` events in any hour. A burst passes at once; the excess is delayed."""

    def __init__(self, max_per_hour: int) -> None:
        self._moments: deque[float] = deque(maxlen=max_per_hour)

    def is_needed(self, now: float) -> bool:
        """Whether it remembers an event of the last hour."""
        return bool(self._moments) and self._moments[-1] > now - HOUR

    def reserve(self, now: float) -> float:
        """Reserve the earliest possible time for an event, and return it: `now` or later."""
        moment = now
        if len(self._moments) == self._moments.maxlen:
            moment = max(now, self._moments[0] + HOUR)
        self._moments.append(moment)
        return moment
