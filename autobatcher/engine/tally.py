"""How many requests an engine was asked, and what became of them."""

from __future__ import annotations

from math import inf

import anyio

LATELY_SECONDS = 0.1
"""Callers that leave one after the other, each this soon after the one before, leave together."""


class Tally:
    """Counts of one engine's requests.

    Attributes:
        requests: all that were queued.
        answered: those that got a good answer.
        failed: those that got an error, of whatever kind.
        withdrawn: those whose callers, or whose client, left before.
        idle_since: when the last outcome came after which nothing waited, on the event loop's clock.
        last_lane: the lane of the last good answer after which nothing waited; None if that was no good answer.
    """

    __slots__ = (
        "_last_left",
        "_left_together",
        "answered",
        "failed",
        "idle_since",
        "last_lane",
        "requests",
        "withdrawn",
    )

    def __init__(self) -> None:
        self.requests: int = 0
        self.answered: int = 0
        self.failed: int = 0
        self.withdrawn: int = 0
        self.idle_since: float = -inf
        self.last_lane: str | None = None
        self._left_together = 0
        self._last_left: float = -inf

    @property
    def waiting(self) -> int:
        """How many have no outcome yet."""
        return self.requests - self.answered - self.failed - self.withdrawn

    @property
    def waited(self) -> int:
        """How many have no outcome yet, or left just now: Ctrl-C cancels callers together with their engine."""
        return self.waiting + (self._left_together if self._is_lately(_now()) else 0)

    def settle(self, lane: str | None) -> None:
        """One of them has its outcome: a good answer on that lane, or an error."""
        if lane is None:
            self.failed += 1
        else:
            self.answered += 1
        if not self.waiting:
            self.idle_since, self.last_lane = anyio.current_time(), lane

    def withdraw(self) -> None:
        """The caller of one of them left, or the client was closed."""
        self.withdrawn += 1
        self.last_lane = None
        now = _now()
        self._left_together = self._left_together + 1 if self._is_lately(now) else 1
        self._last_left = now

    def _is_lately(self, now: float) -> bool:
        return 0.0 <= now - self._last_left <= LATELY_SECONDS

    def take_back(self) -> None:
        """One that failed is asked again, as another one."""
        self.requests -= 1
        self.failed -= 1


def _now() -> float:
    """The event loop's clock. Without one, as when callers are collected after its end, nothing is lately."""
    try:
        return anyio.current_time()
    except RuntimeError:
        return inf
