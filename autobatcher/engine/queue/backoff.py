"""Adapts batch size and delay to quota errors of the upstream. Pure."""

from __future__ import annotations

import math

FIRST_DELAY_SECONDS = 15.0
MAX_DELAY_SECONDS = 600.0
"""How long nothing is submitted after a quota error, in seconds; doubles with each error in a row. Capacity returns
when batches end, ours or others'. We learn of ours at once."""

GROWTH = 1.5
"""Factor by which a batch may exceed the last accepted one, after a quota error."""


class Backoff:
    """The back-off for one kind of requests at one upstream: per account, and per model where models are not mixed.

    Attributes:
        max_requests: the maximum size of the next batch; infinite until the first quota error.
        ready_at: the earliest time to submit the next batch.
    """

    def __init__(self) -> None:
        self.max_requests: float = math.inf
        self.ready_at: float = -math.inf
        self._delay = FIRST_DELAY_SECONDS

    def throttled(self, requests: int, now: float, *, retry_after: float = 0.0) -> None:
        """A batch of `requests` requests got a quota error: submit less, later."""
        self.max_requests = max(1, min(self.max_requests, requests // 2))
        self.ready_at = now + max(self._delay, min(retry_after, MAX_DELAY_SECONDS))
        self._delay = min(self._delay * 2, MAX_DELAY_SECONDS)

    def accepted(self, requests: int, now: float) -> None:
        """The upstream works on a batch of `requests` requests: the next one may be larger."""
        if requests >= self.max_requests:
            self.max_requests = math.ceil(requests * GROWTH)
        self._delay = FIRST_DELAY_SECONDS

    def batch_ended(self, now: float) -> None:
        """An accepted batch ended, and freed capacity."""
        self.ready_at = min(self.ready_at, now)

    def submitted(self, now: float) -> None:
        """A batch was submitted. After a quota error, hold back the next one until this one was probably accepted."""
        if self.max_requests < math.inf:
            self.ready_at = max(self.ready_at, now + FIRST_DELAY_SECONDS)
