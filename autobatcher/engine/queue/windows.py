"""Which requests travel together, and when a window is full. Pure: no clock, no I/O."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple

from ...upstream.account import Account
from ..lanes.terms import ANYWHERE, Placement
from ..request import ErrorFor, Request
from ..shares import Shares
from .backoff import Backoff
from .by_account import ByAccount
from .moments import Moments
from .room import Room


def travel_key(account: Account, endpoint: str, model: str, placement: Placement = ANYWHERE) -> Hashable:
    """Requests with equal keys may share a batch: one account, one class of deadlines, and one endpoint and model
    unless its provider mixes them."""
    provider = account.provider
    kind = (None if provider.mixes_endpoints else endpoint, None if provider.mixes_models else model)
    return (account, *kind, placement.kind)


def key_of(request: Request) -> Hashable:
    """The `travel_key` of a request."""
    return travel_key(request.account, request.endpoint, request.model, request.placement)


class Window:
    """Requests that gather for one batch until it is full or its time is up."""

    batch_id: None = None

    def __init__(self, account: Account, batch_size: int, closes_at: float) -> None:
        self.account: Account = account
        self.closes_at: float = closes_at
        self.is_full: bool = False
        self._room = Room(account.provider, batch_size)
        self._requests: dict[Request, None] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    def fits(self, request: Request) -> bool:
        """Whether the batch stays within the provider's limits with `request` in it. An empty window fits any
        request."""
        return self._room.fits(request.size, request.embedding_inputs)

    def add(self, request: Request) -> None:
        self._requests[request] = None
        self._room.take(request.size, request.embedding_inputs)
        request.holder = self
        self.is_full = self._room.is_full

    def withdraw(self, request: Request) -> None:
        """The caller left: its request is never sent."""
        del self._requests[request]
        self._room.give_back(request.size, request.embedding_inputs)


class ThrottledRequests:
    """Requests of one kind that wait for capacity upstream, in order."""

    batch_id: None = None

    def __init__(self) -> None:
        self.backoff: Backoff = Backoff()
        self._requests: OrderedDict[Request, None] = OrderedDict()  # a dict is slow to tell its first key

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    @property
    def first(self) -> Request:
        """The request that waits longest. There must be one."""
        return next(iter(self._requests))

    def add(self, requests: Iterable[Request], *, in_front: bool = False) -> None:
        coming = list(requests)
        for request in reversed(coming) if in_front else coming:
            self._requests[request] = None
            self._requests.move_to_end(request, last=not in_front)
            request.holder = self

    def withdraw(self, request: Request) -> None:
        """The caller left: its request is never sent."""
        del self._requests[request]

    def pop_batch(self, window: Window) -> list[Request]:
        """Remove and return as many requests as the back-off allows and as fit into `window`, which is empty."""
        for request in self:
            is_of_another_part = len(window) > 0 and request.bisection is not next(iter(window)).bisection
            if is_of_another_part or len(window) >= self.backoff.max_requests or not window.fits(request):
                break
            window.add(request)
        batch = list(window)
        for request in batch:
            del self._requests[request]
        return batch


class HurriedGroup(NamedTuple):
    """Requests of one account and class of deadlines that wait here.

    Attributes:
        deadline: that of the first one, on the event loop's clock.
        size: how many there are.
    """

    account: Account
    deadline: float
    size: int


class Windows:
    """All queued requests: in open windows, at most one per `travel_key`; in closed windows that wait for a free slot
    among the active batches; and throttled ones that wait for capacity upstream. No step looks at all kinds."""

    def __init__(self, *, batch_size: int, window_seconds: float) -> None:
        self._batch_size = batch_size
        self._window_seconds = window_seconds
        self._open: dict[Hashable, Window] = {}
        self._closing: Moments[Hashable] = Moments()
        self._closed: ByAccount[tuple[Hashable, Window]] = ByAccount()
        self._throttled: dict[Hashable, ThrottledRequests] = {}
        self._backing_off: Moments[Hashable] = Moments()  # which may go on, and when
        self._backed_off: ByAccount[Hashable] = ByAccount()  # which may go on, once there is a place

    def __len__(self) -> int:
        """How many requests wait here."""
        return sum(len(place) for place in self._all())

    def hurried(self) -> list[HurriedGroup]:
        """Those that have a deadline, in groups of about the same one."""
        places = ((next(iter(place), None), len(place)) for place in self._all())
        return [
            HurriedGroup(first.account, first.terms.deadline, count)
            for first, count in places
            if first is not None and first.terms.deadline is not None
        ]

    def add(self, request: Request, clock: Callable[[], float]) -> bool:
        """Add `request` to its window; return True if the engine must wake: for a new deadline, or a full window.

        Args:
            clock: called only for the first request of a window.
        """
        key = key_of(request)
        window = self._open.get(key)
        if window is not None and not window.fits(request):
            self._close(key)
            window = None
        is_first = window is None or len(window) == 0
        if window is None:
            window = self._open[key] = self._new_window(request, math.inf)
        if is_first:
            window.closes_at = clock() + self._window_seconds
        is_hurried = request.placement.leave_by < window.closes_at
        if is_hurried:
            window.closes_at = request.placement.leave_by
        if is_first or is_hurried:
            self._closing.set(key, window.closes_at)
        window.add(request)
        if window.is_full:
            self._close(key)
        return is_first or is_hurried or window.is_full

    def close_all(self) -> bool:
        """Close every open window. Returns whether there were requests in any."""
        waiting = [key for key, window in self._open.items() if window]
        for key in waiting:
            self._close(key)
        return bool(waiting)

    def put_back(self, requests: list[Request], key: Hashable) -> None:
        """Requeue the requests of a failed batch in front of all others, in a closed window."""
        window = self._new_window(requests[0], -math.inf)
        for request in requests:
            window.add(request)
        self._closed.add(window.account, (key, window), in_front=True)

    def throttle(self, requests: list[Request], key: Hashable, now: float, *, sent: int, retry_after: float) -> None:
        """Hold requests of a batch of `sent` requests that got a quota error. A request that was refused alone goes
        behind the others, which may be smaller."""
        throttled = self._throttled.setdefault(key, ThrottledRequests())
        throttled.backoff.throttled(sent, now, retry_after=retry_after)
        throttled.add(requests, in_front=sent > 1)
        self._back_off(key, throttled)

    def due(self, now: float, active: Shares) -> list[list[Request]]:
        """Remove the requests of every window that is full or whose time is up, one list per batch.

        Args:
            active: the places of batches. One is taken for each list; windows that get none wait.
        """
        for key in self._closing.due(now):
            self._close(key)
        batches: list[list[Request]] = []
        while batch := self._pop_closed(active) or self._pop_backed_off(active, now):
            batches.append(batch)
            active.take(batch[0].account)
        return batches

    def next_due(self) -> float:
        """When the next window's time is up, or throttled requests may leave; infinite if neither."""
        return min(self._closing.next(), self._backing_off.next())

    def accepted(self, key: Hashable, requests: int, now: float) -> None:
        """The upstream works on a batch of so many requests of that kind."""
        throttled = self._throttled.get(key)
        if throttled is None:
            return
        throttled.backoff.accepted(requests, now)
        if throttled.backoff.max_requests >= self._batch_size and not len(throttled):
            del self._throttled[key]  # the upstream has capacity again

    def batch_ended(self, key: Hashable, now: float) -> None:
        """An accepted batch of that kind has ended."""
        if (throttled := self._throttled.get(key)) is not None:
            throttled.backoff.batch_ended(now)
            self._back_off(key, throttled)

    def fail_all(self, error_for: ErrorFor) -> None:
        """Empty every window, and settle each request with its own error from `error_for`."""
        requests = [request for place in self._all() for request in place]
        self._open, self._closed, self._throttled = {}, ByAccount(), {}
        self._closing, self._backing_off, self._backed_off = Moments(), Moments(), ByAccount()
        for request in requests:
            request.settle(error_for(request, None))

    def _close(self, key: Hashable) -> None:
        self._closing.discard(key)
        window = self._open.pop(key)
        if window:
            self._closed.add(window.account, (key, window))

    def _pop_closed(self, active: Shares) -> list[Request]:
        """Remove the next closed window that has a place, of each account in turn; empty if there is none."""
        while (closed := self._closed.pop(active)) is not None:
            key, window = closed
            if key in self._throttled:
                self._throttled[key].add(window)
                self._back_off(key, self._throttled[key])
            elif window:
                return list(window)
        return []

    def _back_off(self, key: Hashable, throttled: ThrottledRequests) -> None:
        """Let throttled requests, if there are any, wait until they may leave."""
        if throttled:
            self._backing_off.set(key, throttled.backoff.ready_at)

    def _pop_backed_off(self, active: Shares, now: float) -> list[Request]:
        """Remove the next throttled requests that may leave, likewise."""
        for key in self._backing_off.due(now):
            if throttled := self._throttled.get(key):
                self._backed_off.add(throttled.first.account, key)
            else:
                self._throttled.pop(key, None)  # all callers have left: strangers may come and go without end
        while (key := self._backed_off.pop(active)) is not None:
            throttled = self._throttled.get(key)
            if throttled and throttled.backoff.ready_at <= now:
                batch = throttled.pop_batch(self._new_window(throttled.first, -math.inf))
                throttled.backoff.submitted(now)
                self._back_off(key, throttled)
                return batch
        return []

    def _new_window(self, request: Request, now: float) -> Window:
        return Window(request.account, self._batch_size, now)

    def _all(self) -> list[Window | ThrottledRequests]:
        closed = (window for _, window in self._closed)
        return [*closed, *self._throttled.values(), *self._open.values()]
