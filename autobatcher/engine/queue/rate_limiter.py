"""How often batches may be created. Pure."""

from __future__ import annotations

from collections import deque

HOUR = 3600.0


class RateLimiter:
    """At most so many in any hour; a burst goes at once, what is too much is spread over what comes."""

    def __init__(self, max_per_hour: int) -> None:
        self._moments: deque[float] = deque(maxlen=max_per_hour)

    def reserve(self, now: float) -> float:
        """When the next batch may be created: `now`, or later. That moment is taken."""
        moment = now
        if len(self._moments) == self._moments.maxlen:
            moment = max(now, self._moments[0] + HOUR)
        self._moments.append(moment)
        return moment
