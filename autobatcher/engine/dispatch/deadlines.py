"""The moments at which requests must be looked at: they leave the queue, or their deadline has passed. No clock."""

from __future__ import annotations

import heapq
from itertools import count

from ..request import Request
from ..watched import Watched


class Deadlines:
    """A heap of moments. Those of requests that are over are forgotten at the latest when the heap has doubled, and the
    requests themselves at once."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Watched[Request]]] = []
        self._numbers = count()
        self._most = 1_000

    def __len__(self) -> int:
        """At most so many requests wait here."""
        return len(self._heap)

    def add(self, moment: float, request: Request) -> bool:
        """Remember to look at `request` at `moment`. Returns whether that is the next moment of all."""
        if len(self._heap) >= self._most:
            self._forget()
        watched = request.watched = request.watched or Watched(request)
        heapq.heappush(self._heap, (moment, next(self._numbers), watched))
        return self._heap[0][2] is watched

    def next(self) -> float:
        """The next moment; infinite if there is none."""
        return self._heap[0][0] if self._heap else float("inf")

    def due(self, now: float) -> list[Request]:
        """Remove and return the requests whose moment has come, each once, without those that are over."""
        found: dict[Request, None] = {}
        while self._heap and self._heap[0][0] <= now:
            request = heapq.heappop(self._heap)[2].request
            if request is not None:
                found[request] = None  # a process that slept may find several of its moments
        return list(found)

    def _forget(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2].request is not None]
        heapq.heapify(self._heap)
        self._most = max(1_000, 2 * len(self._heap))
