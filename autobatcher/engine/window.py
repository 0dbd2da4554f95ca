"""Which requests travel together, and when their window is full. Pure and synchronous: no clock, no I/O."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator

from ..upstream.providers import ProviderProfile
from .request import ErrorFor, Request


def travel_key(request: Request) -> Hashable:
    """Requests of equal keys may share a batch: one account, and what its provider does not mix."""
    provider = request.account.provider
    return (
        request.account,
        None if provider.mixes_endpoints else request.endpoint,
        None if provider.mixes_models else request.model,
    )


class Window:
    """Requests that gather for one batch until it is full, or its time is up."""

    def __init__(self, provider: ProviderProfile, batch_size: int, closes_at: float) -> None:
        self.closes_at: float = closes_at
        self.is_full: bool = False
        self._provider = provider
        self._batch_size = min(batch_size, provider.max_requests)
        self._requests: dict[Request, None] = {}
        self._bytes = 0
        self._embedding_inputs = 0

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    def fits(self, request: Request) -> bool:
        """Whether the batch stays within the provider's limits with `request` in it. An empty window takes any."""
        most_inputs = self._provider.max_embedding_inputs or math.inf
        return not self._requests or (
            not self.is_full
            and self._bytes + request.size <= self._provider.max_file_bytes
            and self._embedding_inputs + request.embedding_inputs <= most_inputs
        )

    def add(self, request: Request) -> None:
        self._requests[request] = None
        self._bytes += request.size
        self._embedding_inputs += request.embedding_inputs
        request.place = self
        self.is_full = len(self._requests) >= self._batch_size

    def withdraw(self, request: Request) -> None:
        """A caller is gone: its request is never sent."""
        del self._requests[request]
        self._bytes -= request.size
        self._embedding_inputs -= request.embedding_inputs


class Windows:
    """All open windows, at most one for each kind of requests that may share a batch."""

    def __init__(self, *, batch_size: int, window_seconds: float) -> None:
        self._batch_size = batch_size
        self._window_seconds = window_seconds
        self._open: dict[Hashable, Window] = {}
        self._closed: list[Window] = []

    def __len__(self) -> int:
        """How many requests wait here."""
        return sum(len(window) for window in self._all())

    def add(self, request: Request, now: float) -> bool:
        """Put `request` into its window; True if the engine has something new to do: a timer, or a full window."""
        key = travel_key(request)
        window = self._open.get(key)
        if window is not None and not window.fits(request):
            self._closed.append(self._open.pop(key))
            window = None
        is_first = window is None or len(window) == 0
        if window is None:
            window = Window(request.account.provider, self._batch_size, now)
            self._open[key] = window
        if is_first:
            window.closes_at = now + self._window_seconds
        window.add(request)
        if window.is_full:
            self._closed.append(self._open.pop(key))
        return is_first or window.is_full

    def due(self, now: float) -> list[list[Request]]:
        """Take out the requests of every window that is full or whose time is up, a list for each."""
        late = [key for key, window in self._open.items() if window.closes_at <= now]
        closed = [*self._closed, *(self._open.pop(key) for key in late)]
        self._closed = []
        return [list(window) for window in closed if len(window) > 0]

    def next_due(self) -> float:
        """When the next window's time is up; infinite while there is none."""
        return min((window.closes_at for window in self._open.values()), default=math.inf)

    def fail_all(self, error_for: ErrorFor) -> None:
        """Empty every window and give each request the error that `error_for` makes for it."""
        requests = [request for window in self._all() for request in window]
        self._open, self._closed = {}, []
        for request in requests:
            request.settle(error_for(request, None))

    def _all(self) -> list[Window]:
        return [*self._closed, *self._open.values()]
