"""Requests that are about to be looked up in a shared journal."""

from __future__ import annotations

import heapq
import itertools
import math
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
        self._held_up_since: dict[Request, float] = {}  # infinite until it is looked up again
        self._is_filled = anyio.Event()

    def __len__(self) -> int:
        return len(self._held_up_since)

    def add(self, request: Request) -> None:
        self._held_up_since[request] = math.inf
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
            if request in self._held_up_since:
                some.append(request)
        return some

    def again(self, request: Request, patience_seconds: float) -> bool:
        """Look the request up again in a moment.

        False if that was first asked longer ago than `patience_seconds`, or if its caller has left. The time for which
        the journal could not be asked before does not count.
        """
        now = anyio.current_time()
        since = self._held_up_since.get(request)
        if since is None or now - since >= patience_seconds:
            return False
        self._held_up_since[request] = min(since, now)
        heapq.heappush(self._later, (now + AGAIN_SECONDS, next(self._order), request))
        self._is_filled.set()
        return True

    def remove(self, request: Request) -> bool:
        """Remove a request; False if its caller has left."""
        return self._held_up_since.pop(request, None) is not None

    def withdraw(self, request: Request) -> None:
        """The caller left: its request is never sent."""
        del self._held_up_since[request]

    def pop_all(self) -> list[Request]:
        requests = list(self._held_up_since)
        self._held_up_since.clear()
        self._next.clear()
        self._later.clear()
        return requests
