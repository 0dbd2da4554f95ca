"""The emulator's two clocks: one runs the batches, the other dates them."""

from __future__ import annotations

from collections.abc import Callable


class Clock:
    """The event loop's seconds, or somebody's own, and what they are in seconds since 1970.

    Args:
        clock: seconds that run the batches. Raises RuntimeError while there is no event loop whose time it is.
        wall_clock: seconds since 1970; read once.
    """

    def __init__(self, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._last = 0.0
        self._offset: float | None = None

    def now(self) -> float:
        """The clock's time; the last one seen while there is no event loop to ask."""
        try:
            self._last = self._clock()
        except RuntimeError:
            return self._last
        if self._offset is None:
            self._offset = self._wall_clock() - self._last
        return self._last

    def wall(self, moment: float) -> float:
        """A moment of the clock, in seconds since 1970."""
        return moment + (self._offset or 0.0)
