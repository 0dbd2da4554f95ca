"""When failures that come again and again are believed. Pure."""

from __future__ import annotations

from .failures import UpstreamError

MIN_FAILURES = 5
"""How many failures in a row it takes, however much time has passed: one alone may be a gateway's or a replica's."""


class Patience:
    """Counts failures in a row, and the time over which they came.

    Time counts from the first failure, and only as far as somebody asked: the time between two failures counts at most
    an equal part of `seconds`. So a pause of the process (SIGSTOP, a sleeping laptop, a paused virtual machine) and a
    long poll interval use up no more patience than one failure each.

    Args:
        seconds: how long failures are borne.
        least: how many there must be in a row.
    """

    def __init__(self, seconds: float, *, least: int = MIN_FAILURES) -> None:
        self._seconds = seconds
        self._longest_step = seconds / max(1, least - 1)
        self._elapsed = 0.0
        self._failures = 0
        self._least = least
        self._last = 0.0

    def runs_out(self, now: float) -> bool:
        """Note a failure; True if it is to be believed."""
        if self._failures:
            self._elapsed += min(now - self._last, self._longest_step)
        self._failures += 1
        self._last = now
        return self._failures >= self._least and self._elapsed >= self._seconds * _NEARLY_ALL

    def reset(self) -> None:
        """Note a success: the next failure is the first of a row."""
        self._elapsed, self._failures = 0.0, 0


REFUSED_SECONDS = 600.0
"""How long an upstream may refuse us a batch, a list or a file (401, 403, 404) that may have been paid for. Files and
batches are not visible everywhere at once, keys are rotated, and gateways err."""

OUTAGE_SECONDS = 86_400.0
"""How long it may fail in ways that are worth another try (5xx, no connection): batches outlast outages."""


class ReadPatience:
    """Patience with an upstream from which we want to read what may have been paid for."""

    def __init__(self) -> None:
        self._refusals = Patience(REFUSED_SECONDS)
        self._outage = Patience(OUTAGE_SECONDS)

    def runs_out(self, error: UpstreamError, now: float) -> bool:
        """Note a failure; True if it is to be believed."""
        return (self._outage if error.is_retryable else self._refusals).runs_out(now)

    def reset(self) -> None:
        """Note a success."""
        self._refusals.reset()
        self._outage.reset()


_NEARLY_ALL = 1 - 1e-9  # equal steps need not add up to the whole in floating point
