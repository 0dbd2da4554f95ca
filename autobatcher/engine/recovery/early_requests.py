"""Requests that came before the journal was open."""

from __future__ import annotations

from ..request import Request


class EarlyRequests:
    """These requests, in order.

    Attributes:
        are_flushed: whether they were to leave at once.
    """

    batch_id: None = None

    def __init__(self) -> None:
        self.are_flushed: bool = False
        self._requests: dict[Request, None] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, request: Request) -> None:
        self._requests[request] = None
        request.holder = self

    def withdraw(self, request: Request) -> None:
        """The caller left: its request is never sent."""
        del self._requests[request]

    def pop_all(self) -> list[Request]:
        requests = list(self._requests)
        self._requests.clear()
        return requests
