"""What stays in use from visit to visit. Pure."""

from __future__ import annotations

LEAK_BYTES = 10_000_000
"""Caches and counters that are not full yet take some. What leaks in each case takes as much in one visit."""

VISITS = 3
"""So many in a row: what one visit leaves, and another takes away, is no leak."""


class Leaks:
    """Finds memory that grows on and on, by what was in use after each visit of a target.

    Of the first visit nothing is said: it imports and builds what every later one uses.
    """

    def __init__(self) -> None:
        self._seen: dict[str, list[int]] = {}

    def growth(self, name: str, used: int) -> int:
        """How much more, in bytes, is in use after each of the last visits than after one of the first; 0 if little."""
        seen = self._seen.setdefault(name, [])
        seen.append(used)
        early, late = seen[1 : 1 + VISITS], seen[-VISITS:]
        grown = min(late) - min(early) if len(seen) > 1 + VISITS else 0
        return grown if grown > LEAK_BYTES else 0
