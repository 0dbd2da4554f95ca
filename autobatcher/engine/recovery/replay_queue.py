"""Requests whose answers are stored in the journal and about to be read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import anyio

from ..journal import UnclaimedLine
from ..request import Request


class ReplayQueue:
    """The queue of these requests, in order.

    Args:
        on_withdraw: called with the request and line of a caller who left.
    """

    batch_id: None = None

    def __init__(self, on_withdraw: Callable[[Request, UnclaimedLine], None]) -> None:
        self._on_withdraw = on_withdraw
        self._next: deque[tuple[Request, UnclaimedLine]] = deque()
        self._requests: dict[Request, UnclaimedLine] = {}
        self._is_filled = anyio.Event()

    def __len__(self) -> int:
        return len(self._requests)

    async def wait(self) -> None:
        """Wait until the queue is not empty."""
        if not self._next:
            self._is_filled = anyio.Event()
            await self._is_filled.wait()

    def add(self, request: Request, line: UnclaimedLine) -> None:
        self._requests[request] = line
        self._next.append((request, line))
        request.holder = self
        self._is_filled.set()

    def next(self, most: int) -> list[tuple[Request, UnclaimedLine]]:
        """Return up to `most` of the oldest requests. Their callers may still leave; see `remove`."""
        return [self._next.popleft() for _ in range(min(most, len(self._next)))]

    def remove(self, request: Request) -> bool:
        """Remove a request; False if its caller has left."""
        return self._requests.pop(request, None) is not None

    def withdraw(self, request: Request) -> None:
        """The caller left. The next identical request can claim the line at once."""
        self._on_withdraw(request, self._requests.pop(request))

    def pop_all(self) -> list[Request]:
        """Remove and return all of them. Their lines can be claimed again."""
        requests = list(self._requests)
        for request in requests:
            self.withdraw(request)
        self._next.clear()
        return requests
