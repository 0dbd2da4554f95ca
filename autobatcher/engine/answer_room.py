"""How much memory the answers of an upstream may take while they are read."""

from __future__ import annotations

from collections.abc import Hashable

from ..upstream.large_turn import LargeTurn
from .fair_limiter import FairLimiter

LARGE_AT_ONCE = 2
"""How many large answers are read at a time. Each takes up to twice `most_bytes`: the line, and a copy of its body."""


class AnswerRoom:
    """Shared by all batches and lane calls of an engine.

    Args:
        isolates: whether accounts belong to strangers.

    Attributes:
        most_bytes: the longest answer.
    """

    def __init__(self, most_bytes: int, *, isolates: bool) -> None:
        self.most_bytes: int = most_bytes
        self._limiter = FairLimiter(LARGE_AT_ONCE, isolates=isolates)

    def turn(self, account: Hashable) -> LargeTurn:
        """For reading answers of `account`, one after the other."""
        return LargeTurn(self._limiter.turn(account))
