"""How many failures, over how long, count as permanent. Pure."""

from __future__ import annotations

from .failures import UpstreamError

MIN_FAILURES = 5
"""Minimum number of failures in a row, however much time has passed. A single one may come from a gateway or a stale
replica."""


class Patience:
    """Counts consecutive failures and the time they span.

    Time starts at the first failure. The interval between two failures counts for at most an equal share of `seconds`,
    so neither a pause of the process (SIGSTOP, a sleeping laptop, a paused virtual machine) nor a long poll interval
    uses up more patience than one failure.

    Args:
        seconds: how long failures are tolerated.
        least: the minimum number of consecutive failures.
    """

    def __init__(self, seconds: float, *, least: int = MIN_FAILURES) -> None:
        self._seconds = seconds
        self._longest_step = seconds / max(1, least - 1)
        self._elapsed = 0.0
        self._failures = 0
        self._least = least
        self._last = 0.0

    @property
    def seconds(self) -> float:
        """How long failures are tolerated."""
        return self._seconds

    def runs_out(self, now: float) -> bool:
        """Record a failure; return True if it counts as permanent."""
        if self._failures:
            self._elapsed += min(now - self._last, self._longest_step)
        self._failures += 1
        self._last = now
        return self._failures >= self._least and self._elapsed >= self._seconds * _NEARLY_ALL

    def reset(self) -> None:
        """Record a success: the count starts again."""
        self._elapsed, self._failures = 0.0, 0


REFUSED_SECONDS = 600.0
"""How long an upstream may refuse (401, 403, 404) a batch, list or file that may have been paid for. Files and batches
are not visible everywhere at once, keys are rotated, and gateways err."""

OUTAGE_SECONDS = 86_400.0
"""How long an upstream may fail in retryable ways (5xx, no connection). Batches outlast outages."""


class ReadPatience:
    """Patience for reading what may have been paid for."""

    def __init__(self) -> None:
        self._refusals = Patience(REFUSED_SECONDS)
        self._outage = Patience(OUTAGE_SECONDS)

    def runs_out(self, error: UpstreamError, now: float) -> bool:
        """Record a failure; return True if it counts as permanent."""
        return (self._outage if error.is_retryable else self._refusals).runs_out(now)

    def reset(self) -> None:
        """Record a success."""
        self._refusals.reset()
        self._outage.reset()


_NEARLY_ALL = 1 - 1e-9  # in floating point, equal steps may not add up to the whole
