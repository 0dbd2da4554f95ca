"""How soon a batch may be done, by how fast its lines were done so far. Pure."""

from __future__ import annotations

from ...upstream.batch_state import BatchState

_ENDS_ANYHOW = ("finalizing", "cancelling")


class Forecast:
    """Takes what the polls of one batch show.

    Attributes:
        is_based: whether its own progress says more than how long its like took.
    """

    def __init__(self) -> None:
        self.is_based: bool = False
        self._first: tuple[float, int] | None = None  # when none was done for the last time, or the first counts
        self._last = (0.0, 0)
        self._done_at = 0.0

    def saw(self, state: BatchState, now: float) -> None:
        """A poll showed this state."""
        done = 0 if state.counts is None else state.counts.completed + state.counts.failed
        self.is_based = done > 0 or state.status in _ENDS_ANYHOW
        if self._first is None or done == 0:
            self._first = self._last = now, done
        elif done != self._last[1] and now > self._last[0]:
            speed = max(_speed(self._first, (now, done)), _speed(self._last, (now, done)))
            self._last = now, done
            self._done_at = now + (state.counts.total - done) / speed if state.counts and speed > 0 else now

    def remaining(self, now: float) -> float:
        """Seconds until all lines are done at the mean speed or the last one, the higher of them; 0 if nobody knows."""
        return max(0.0, self._done_at - now)


def _speed(before: tuple[float, int], after: tuple[float, int]) -> float:
    return (after[1] - before[1]) / (after[0] - before[0])
