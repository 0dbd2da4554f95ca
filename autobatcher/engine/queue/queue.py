"""All requests that wait to be sent, with the upstream's limits on when. Synchronous."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import anyio

from ...upstream.account import Account
from ...upstream.patience import Patience
from ..bisection import Bisection
from ..request import ErrorFor, Request
from ..settings import Settings
from ..shares import Shares
from .rate_limiter import RateLimiter
from .windows import HurriedGroup, ThrottledRequests, Window, Windows

FEW_RATE_LIMITERS = 100
"""How many accounts' batches are counted without asking whether that is still needed."""


class RequestQueue:
    """Requests on their way into batches: new ones, and those that come back from a batch.

    Args:
        wake_engine: called when a window is full, or a new one has started to wait.
    """

    def __init__(self, settings: Settings, wake_engine: Callable[[], None]) -> None:
        self._deadline_seconds = settings.batch_deadline_seconds
        self._windows = Windows(batch_size=settings.batch_size, window_seconds=settings.batch_window_seconds)
        self._isolates = settings.isolate_accounts
        self._rate_limiters: dict[Hashable, RateLimiter] = {}
        self._most_rate_limiters = FEW_RATE_LIMITERS
        self._wake_engine = wake_engine

    def __len__(self) -> int:
        """How many requests wait here."""
        return len(self._windows)

    def hurried(self) -> list[HurriedGroup]:
        """Those that have a deadline, in groups of about the same one."""
        return self._windows.hurried()

    def add(self, request: Request) -> None:
        """Add `request` to the window of its kind."""
        request.custom_id = ""
        try:
            needs_wake = self._windows.add(request, anyio.current_time)
        except Exception:  # a bug: do not let the request count against the byte limit
            request.dequeue()
            raise
        if needs_wake:
            self._wake_engine()

    def holds(self, request: Request) -> bool:
        """Whether `request` waits here."""
        return isinstance(request.holder, Window | ThrottledRequests)

    def due(self, active: Shares) -> list[list[Request]]:
        """Remove the requests of every window that is full or whose time is up, one list per batch. Each takes a place
        of `active`."""
        return self._windows.due(anyio.current_time(), active)

    def flush(self) -> None:
        """Close the open windows: their requests leave as soon as there is a place for a batch."""
        if self._windows.close_all():
            self._wake_engine()

    def next_due(self) -> float:
        """When the next window's time is up; infinite if there is none."""
        return self._windows.next_due()

    def put_back(self, requests: list[Request], key: Hashable) -> None:
        """Requeue requests whose batch was refused because of other lines. They leave at once, and it is not a retry.

        The first time they go into one batch, after that into two halves, so that many bad lines, reported one at a
        time, cost ever smaller uploads.
        """
        for request in requests:
            request.custom_id = ""
            request.requeue_count += 1
        half = (len(requests) + 1) // 2 if any(request.requeue_count > 1 for request in requests) else len(requests)
        for part in (requests[:half], requests[half:]):
            if part:
                self._windows.put_back(part, key)
        self._wake_engine()

    def halve(self, requests: list[Request], key: Hashable, halves: tuple[Bisection, Bisection]) -> None:
        """Requeue the requests of a refused upload in two halves, to find the line that is to blame. It is no retry."""
        half = len(requests) // 2
        for part, bisection in zip((requests[half:], requests[:half]), halves, strict=True):
            for request in part:
                request.custom_id, request.bisection = "", bisection
            self._windows.put_back(part, key)
        self._wake_engine()

    def throttle(self, requests: list[Request], key: Hashable, *, sent: int, retry_after: float) -> list[Request]:
        """Requeue the requests of a batch of `sent` lines that got a quota error. They wait, and leave in smaller
        batches.

        Returns those that have waited for a whole batch's time. They are not in the queue any more.
        """
        now = anyio.current_time()
        kept: list[Request] = []
        given_up: list[Request] = []
        for request in requests:
            request.throttle_patience = request.throttle_patience or Patience(self._deadline_seconds)
            (given_up if request.throttle_patience.runs_out(now) else kept).append(request)
        for request in kept:
            request.custom_id = ""
        self._windows.throttle(kept, key, now, sent=sent, retry_after=retry_after)
        self._wake_engine()
        return given_up

    def accepted(self, requests: int, key: Hashable) -> None:
        """The upstream works on a batch of so many requests of that kind."""
        self._windows.accepted(key, requests, anyio.current_time())

    def batch_ended(self, key: Hashable) -> None:
        """An accepted batch of that kind has ended."""
        self._windows.batch_ended(key, anyio.current_time())

    def reserve_creation(self, account: Account) -> float:
        """Reserve the earliest time at which a batch may be created at this account's upstream, and return it.

        Keys of one owner may share a limit there; those of strangers do not.
        """
        now = anyio.current_time()
        if account.provider.max_batches_per_hour is None:
            return now
        who = account if self._isolates else account.base_url
        limiter = self._rate_limiters.get(who)
        if limiter is None:
            self._forget_rate_limiters(now)
            limiter = self._rate_limiters[who] = RateLimiter(account.provider.max_batches_per_hour)
        return limiter.reserve(now)

    def _forget_rate_limiters(self, now: float) -> None:
        """Forget those that are not needed, whenever there are twice as many as were needed the last time."""
        if len(self._rate_limiters) >= self._most_rate_limiters:
            needed = {who: limiter for who, limiter in self._rate_limiters.items() if limiter.is_needed(now)}
            self._rate_limiters, self._most_rate_limiters = needed, max(FEW_RATE_LIMITERS, 2 * len(needed))

    def fail_all(self, error_for: ErrorFor) -> None:
        """Empty the queue, and settle each request with its own error from `error_for`."""
        self._windows.fail_all(error_for)
