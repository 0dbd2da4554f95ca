"""How many durations fall below which bounds, as Prometheus counts them. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

WAIT_BOUNDS = (1.0, 10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0, 43_200.0, 86_400.0)
"""Upper bounds in seconds, up to a day: for what takes as long as a batch."""

CALL_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""The same for one HTTP call."""


class Histogram:
    """Counts of durations.

    Args:
        bounds: upper bounds in seconds, in order. Beyond the last one there is another bucket.

    Attributes:
        seconds: the sum of all durations.
    """

    __slots__ = ("_bounds", "_counts", "seconds")

    def __init__(self, bounds: tuple[float, ...] = WAIT_BOUNDS) -> None:
        self.seconds: float = 0.0
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self.seconds += seconds

    def buckets(self) -> Iterator[tuple[str, float]]:
        """Each upper bound as a text, with how many durations are not above it."""
        return zip((*map(str, self._bounds), "+Inf"), accumulate(self._counts), strict=True)
