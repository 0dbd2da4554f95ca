"""Requests that wait for lines of batches that other engines run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import anyio

from ..journal import UnclaimedLine
from ..request import Request


class RemoteLines:
    """These requests, by batch and line.

    Args:
        on_withdraw: called with the line of a caller who left.
    """

    batch_id: None = None

    def __init__(self, on_withdraw: Callable[[UnclaimedLine], None]) -> None:
        self._on_withdraw = on_withdraw
        self._requests: defaultdict[str, dict[int, tuple[Request, UnclaimedLine]]] = defaultdict(dict)
        self._lines: dict[Request, UnclaimedLine] = {}
        self._news: set[str] = set()
        self._has_news = anyio.Event()

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, request: Request) -> bool:
        return request in self._lines

    def add(self, request: Request, line: UnclaimedLine) -> None:
        """Let the request wait for the line. It may have its answer by now."""
        self._requests[line.idempotency_key][line.number] = request, line
        self._lines[request] = line
        request.holder = self
        self.tell(line.idempotency_key)

    def tell(self, idempotency_key: str) -> None:
        """There is news of that batch."""
        if idempotency_key in self._requests:
            self._news.add(idempotency_key)
            self._has_news.set()

    async def with_news(self, seconds: float) -> list[tuple[Request, UnclaimedLine]]:
        """Wait for news, and return whom it concerns; all of them after so many seconds: news may get lost."""
        if not self._news:
            self._has_news = anyio.Event()
            with anyio.move_on_after(seconds):
                await self._has_news.wait()
        keys = self._news or set(self._requests)
        self._news = set()
        return [waiting for key in keys for waiting in self._requests.get(key, {}).values()]

    def remove(self, request: Request) -> bool:
        """Remove a request; False if it does not wait here."""
        line = self._lines.pop(request, None)
        if line is None:
            return False
        of_batch = self._requests[line.idempotency_key]
        del of_batch[line.number]
        if not of_batch:
            del self._requests[line.idempotency_key]
        return True

    def of_batch(self, idempotency_key: str) -> list[tuple[Request, UnclaimedLine]]:
        """Those that wait for lines of that batch."""
        return list(self._requests.get(idempotency_key, {}).values())

    def withdraw(self, request: Request) -> None:
        """The caller left: anybody may claim its line."""
        line = self._lines[request]
        self.remove(request)
        self._on_withdraw(line)

    def pop_all(self) -> list[Request]:
        """Remove and return all of them. Their lines become free."""
        requests = list(self._lines)
        for request in requests:
            self.withdraw(request)
        return requests
