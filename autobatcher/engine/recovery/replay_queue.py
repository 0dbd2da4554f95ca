"""Requests whose answers are in the journal, and are about to be read. Only the wait for the next is asynchronous."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import anyio

from ..journal import UnclaimedLine
from ..request import Request


class ReplayQueue:
    """Where they wait, in their order.

    Args:
        on_left: is given the line of a caller who left.
    """

    batch_id: None = None

    def __init__(self, on_left: Callable[[Request, UnclaimedLine], None]) -> None:
        self._on_left = on_left
        self._next: deque[tuple[Request, UnclaimedLine]] = deque()
        self._requests: dict[Request, UnclaimedLine] = {}
        self._is_filled = anyio.Event()

    def __len__(self) -> int:
        return len(self._requests)

    async def wait(self) -> None:
        """Until there is something to read."""
        if not self._next:
            self._is_filled = anyio.Event()
            await self._is_filled.wait()

    def add(self, request: Request, line: UnclaimedLine) -> None:
        self._requests[request] = line
        self._next.append((request, line))
        request.holder = self
        self._is_filled.set()

    def next(self, most: int) -> list[tuple[Request, UnclaimedLine]]:
        """Those that have waited for longest. They still can leave; see `remove`."""
        return [self._next.popleft() for _ in range(min(most, len(self._next)))]

    def remove(self, request: Request) -> bool:
        """Take a request out; False if it has left."""
        return self._requests.pop(request, None) is not None

    def withdraw(self, request: Request) -> None:
        """A caller is gone; the next one who asks the same may have the line, at once."""
        self._on_left(request, self._requests.pop(request))

    def pop_all(self) -> list[Request]:
        requests = list(self._requests)
        self._requests.clear()
        self._next.clear()
        return requests
