"""Crowds that were counted a moment ago. Thousands of requests may ask in one moment, and each would count anew."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..request import Request
from .crowd import TOGETHER_SECONDS
from .headcount import Headcount

KEPT_SECONDS = 1.0
"""How long a count holds. Those who come meanwhile are added; those who leave are seen by the next one."""

MOST_KEPT = 512
"""More than there are different deadlines within days, as they are rounded."""

_STEP_SECONDS, _FINE_SECONDS = 60.0, 7_200.0


class RecentCrowds:
    """What `Crowd.after_cutoffs` says, by deadlines that are rounded.

    Args:
        count: counts anew, for a deadline.
    """

    def __init__(self, count: Callable[[float], Headcount]) -> None:
        self._count = count
        self._crowds: dict[float, Headcount] = {}  # by deadline
        self._counted_at = -math.inf  # the oldest of them

    def of(self, deadline: float, now: float) -> Headcount:
        """The crowd for a deadline or a little later: a minute within two hours, two within four, and so on."""
        if now - self._counted_at >= KEPT_SECONDS or len(self._crowds) >= MOST_KEPT:
            self._crowds.clear()
        step = _STEP_SECONDS * 2 ** max(0, math.frexp((deadline - now) / _FINE_SECONDS)[1])
        deadline = math.ceil(deadline / step) * step
        crowd = self._crowds.get(deadline)
        if crowd is None:
            self._counted_at = self._counted_at if self._crowds else now
            crowd = self._crowds[deadline] = self._count(deadline)
        return crowd

    def came(self, request: Request) -> None:
        """A request with a deadline has been placed."""
        assert request.terms.deadline is not None
        for deadline, crowd in self._crowds.items():
            if request.terms.deadline <= deadline + TOGETHER_SECONDS:
                crowd.add(request.account)
