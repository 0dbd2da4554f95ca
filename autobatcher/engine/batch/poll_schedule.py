"""When to poll a batch next. Pure except for the jitter."""

from __future__ import annotations

import math

from ...upstream.back_off import jittered_down

GROWTH = 1.25
MAX_INTERVALS = 6.0
"""While nothing changes, the poll interval grows by `GROWTH`, up to this multiple of the user's interval."""

POLLS_PER_SECOND, POLLS_PER_INTERVAL, POLLS_PER_BATCH = 10.0, 10.0, 0.05
"""The approximate poll rate of all batches of an engine together is the greatest of these. With a hundred batches, each
is polled every eight to ten seconds, or every ten of the user's intervals if these are shorter than a second. However
many batches there may be, each is polled every twenty seconds: else no more than ten a second would be seen to end."""

FORECAST_SHARE, FAR_INTERVALS = 1 / 3, 12.0
"""While lines are done, the next poll is after this share of the time that the rest takes at their speed: an interval
at least, and this multiple of it at most."""

SHARED_INTERVALS = (1, 2, 6, 12)
"""How many intervals there may be between two polls by a list. Each is a multiple of the one before, so that rare polls
are made when frequent ones are."""

ROUNDING = 1e-3
"""A moment that is so near, measured in steps, is the present one."""

URGENT_SECONDS = 20.0
"""The longest time between polls of a batch whose callers cannot wait, in seconds. `HARVEST_SECONDS` relies on it."""


class Schedule:
    """The poll schedule of one batch.

    Args:
        interval: the user's poll interval, in seconds.
        most_batches: how many may be under way.
        is_urgent: whether deadlines depend on seeing the end soon. Then the interval does not grow.
    """

    def __init__(self, interval: float, *, most_batches: int = 1, is_urgent: bool = False) -> None:
        self._interval = min(interval, URGENT_SECONDS) if is_urgent else interval
        self._longest = self._interval if is_urgent else interval * MAX_INTERVALS
        self._wait = self._interval
        self._remaining = 0.0
        self._quiet: float | None = None
        by_settings = POLLS_PER_INTERVAL / interval, POLLS_PER_BATCH * most_batches
        self._polls_per_second = max(POLLS_PER_SECOND, *by_settings)

    def next_wait(self, active_batches: int) -> float:
        """Seconds until the next poll, given how many batches are polled. With jitter, so that batches that end
        together are not all read at once; never longer than intended."""
        return jittered_down(max(self._seconds, active_batches / self._polls_per_second))

    def next_shared_wait(self, clock: float) -> float:
        """Seconds until the next poll by a list that other batches share. Never later than intended.

        Args:
            clock: the time on a clock that all of them go by. Their polls are due at its multiples of the interval, and
                rarer ones at multiples of a few intervals.
        """
        intervals = max(each for each in SHARED_INTERVALS if each * self._interval <= self._seconds)
        step = intervals * self._interval
        wait = math.floor((clock + self._seconds) / step) * step - clock
        return wait if wait > ROUNDING * step else step

    def changed(self) -> None:
        """The last poll showed a change: poll again soon."""
        self._wait = self._interval

    def unchanged(self) -> None:
        """The last poll showed no change."""
        self._wait = min(self._wait * GROWTH, self._longest)

    def expect(self, remaining: float, quiet: float | None) -> None:
        """Poll less often while the end is far. This replaces what was expected before.

        Args:
            remaining: how many seconds the rest of the lines takes, as far as known.
            quiet: how many seconds the batch can be left alone, by how long its like took; None if nobody knows.
        """
        self._remaining, self._quiet = remaining, quiet

    @property
    def _seconds(self) -> float:
        """Between two polls of this batch."""
        if self._quiet is not None:
            return max(self._interval, self._quiet)
        return max(self._wait, min(self._interval * FAR_INTERVALS, self._remaining * FORECAST_SHARE))
