"""Requests that are about to be looked up in a shared journal."""

from __future__ import annotations

import heapq
import itertools
from collections import deque

import anyio

from ..request import Request

AGAIN_SECONDS = 0.5
"""How long until a retry is looked up again whose place is not free yet. The SDKs wait as long before they retry."""


class Claims:
    """The queue of these requests, in order.

    Attributes:
        are_flushed: whether those that find nothing are to leave at once.
    """

    batch_id: None = None

    def __init__(self) -> None:
        self.are_flushed: bool = False
        self._next: deque[Request] = deque()
        self._later: list[tuple[float, int, Request]] = []  # a heap, by time
        self._order = itertools.count()
        self._asked_at: dict[Request, float] = {}
        self._is_filled = anyio.Event()

    def __len__(self) -> int:
        return len(self._asked_at)

    def add(self, request: Request) -> None:
        self._asked_at[request] = anyio.current_time()
        self._next.append(request)
        request.holder = self
        self._is_filled.set()

    async def wait(self) -> None:
        """Wait until a request is to be looked up."""
        while not self._next:
            self._is_filled = anyio.Event()
            due = self._later[0][0] if self._later else float("inf")
            with anyio.CancelScope(deadline=due):
                await self._is_filled.wait()
            while self._later and self._later[0][0] <= anyio.current_time():
                self._next.append(heapq.heappop(self._later)[2])

    def next(self, most: int) -> list[Request]:
        """Return up to `most` of the oldest requests whose callers wait. They may still leave; see `remove`."""
        some: list[Request] = []
        while self._next and len(some) < most:
            request = self._next.popleft()
            if request in self._asked_at:
                some.append(request)
        return some

    def again(self, request: Request, patience_seconds: float) -> bool:
        """Look the request up again in a moment.

        False if it was first looked up longer ago than that, or its caller has left.
        """
        now = anyio.current_time()
        asked_at = self._asked_at.get(request)
        if asked_at is None or now - asked_at >= patience_seconds:
            return False
        heapq.heappush(self._later, (now + AGAIN_SECONDS, next(self._order), request))
        self._is_filled.set()
        return True

    def remove(self, request: Request) -> bool:
        """Remove a request; False if its caller has left."""
        return self._asked_at.pop(request, None) is not None

    def withdraw(self, request: Request) -> None:
        """The caller left: its request is never sent."""
        del self._asked_at[request]

    def pop_all(self) -> list[Request]:
        requests = list(self._asked_at)
        self._asked_at.clear()
        self._next.clear()
        self._later.clear()
        return requests
