"""When the lines of a batch are done."""

from __future__ import annotations

from dataclasses import dataclass

# Guards `int()` against rounding errors in a line's due time.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The lines after the first `done` of `total`: done evenly from `start` to `end`, or all `at_once` at its end."""

    start: float
    seconds: float
    total: int
    done: int = 0
    at_once: bool = False

    @property
    def end(self) -> float:
        return self.start + self.seconds

    def done_by(self, at: float) -> int:
        """How many lines are done at the time `at`, those before the start included."""
        if at >= self.end:
            return self.total
        if at <= self.start or self.at_once:
            return self.done
        share = (at - self.start) / self.seconds
        return self.done + int(share * (self.total - self.done) + _ROUNDING)

    def done_at(self, count: int) -> float:
        """When `count` lines are done: more than `done`, and at most `total`."""
        if self.at_once:
            return self.end
        return self.start + self.seconds * (count - self.done) / (self.total - self.done)
