"""How many requests an engine was asked, and what became of them."""

from __future__ import annotations

from math import inf

import anyio


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

    __slots__ = ("answered", "failed", "idle_since", "last_lane", "requests", "withdrawn")

    def __init__(self) -> None:
        self.requests: int = 0
        self.answered: int = 0
        self.failed: int = 0
        self.withdrawn: int = 0
        self.idle_since: float = -inf
        self.last_lane: str | None = None

    @property
    def waiting(self) -> int:
        """How many have no outcome yet."""
        return self.requests - self.answered - self.failed - self.withdrawn

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

    def take_back(self) -> None:
        """One that failed is asked again, as another one."""
        self.requests -= 1
        self.failed -= 1
