"""When things are due: each at one moment. No clock, and no step looks at all of them."""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Iterator
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

_FEW = 1_000


class Moments(Generic[T]):
    """Things that are due at some moment: the last one that was said."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []  # some are not due any more, or at another moment
        self._numbers: dict[T, int] = {}  # of the one that counts
        self._counter = count()

    def set(self, each: T, moment: float) -> None:
        """It is due then, and not before."""
        number = self._numbers[each] = next(self._counter)
        heapq.heappush(self._heap, (moment, number, each))
        if len(self._heap) > 2 * len(self._numbers) + _FEW:
            self._heap = [entry for entry in self._heap if self._counts(entry)]
            heapq.heapify(self._heap)

    def discard(self, each: T) -> None:
        """It is not due any more."""
        self._numbers.pop(each, None)

    def next(self) -> float:
        """The next moment; infinite if there is none."""
        while self._heap and not self._counts(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def due(self, now: float) -> Iterator[T]:
        """Yield and remove what is due, in the order of the moments."""
        while self.next() <= now:
            each = heapq.heappop(self._heap)[2]
            del self._numbers[each]
            yield each

    def _counts(self, entry: tuple[float, int, T]) -> bool:
        return self._numbers.get(entry[2]) == entry[1]
