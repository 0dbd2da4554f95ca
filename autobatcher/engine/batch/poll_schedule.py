"""When to look at a batch next. Pure, but for the dice."""

from __future__ import annotations

from ...upstream.back_off import jittered_down

GROWTH = 1.25
MAX_INTERVALS = 6.0
"""While nothing moves, the time between two polls grows by this factor, to so many of the user's poll intervals."""

POLLS_PER_SECOND = 10.0
"""About what all batches of an engine together may ask: a hundred are each looked at every eight to ten seconds."""


class Schedule:
    """The polls of one batch.

    Args:
        interval: the user's poll interval, in seconds.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._wait = interval

    def next_wait(self, active_batches: int) -> float:
        """Seconds until the next poll, given how many batches are polled: never later than the user wanted, and no two
        batches' alike, so that those that end together are not all read at once."""
        return jittered_down(max(self._wait, active_batches / POLLS_PER_SECOND))

    def changed(self) -> None:
        """The last poll brought news: look again soon."""
        self._wait = self._interval

    def unchanged(self) -> None:
        """It brought none."""
        self._wait = min(self._wait * GROWTH, self._interval * MAX_INTERVALS)
