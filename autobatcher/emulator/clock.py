"""The emulator's two clocks: a monotonic one that runs batches, and wall-clock time for timestamps."""

from __future__ import annotations

from collections.abc import Callable


class Clock:
    """The event loop's time, or another clock's, and its conversion to Unix time.

    Args:
        clock: a monotonic clock in seconds. It may raise RuntimeError outside an event loop.
        wall_clock: Unix time in seconds; read once.
    """

    def __init__(self, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._last = 0.0
        self._offset: float | None = None

    def now(self) -> float:
        """The clock's time; outside an event loop, the last one read."""
        try:
            self._last = self._clock()
        except RuntimeError:
            return self._last
        if self._offset is None:
            self._offset = self._wall_clock() - self._last
        return self._last

    def wall(self, moment: float) -> float:
        """A time of the clock as Unix time."""
        return moment + (self._offset or 0.0)
