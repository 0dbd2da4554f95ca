"""What an upstream's refusals for want of room taught: how much it takes in one batch, and from when. Pure."""

from __future__ import annotations

import math

FIRST_DELAY_SECONDS = 15.0
MAX_DELAY_SECONDS = 600.0
"""How long nothing is submitted after a refusal, growing with each in a row. Room comes when batches end, ours or those
of others; of ours we know at once."""

GROWTH = 1.5
"""By how much a batch may be larger than the last one that was taken, once there was a refusal."""


class Backoff:
    """The want of room for one kind of requests at one upstream: an account, and a model where models are not mixed.

    Attributes:
        max_requests: how many requests the next batch may have; infinite until something was refused.
        ready_at: when the next batch may be submitted.
    """

    def __init__(self) -> None:
        self.max_requests: float = math.inf
        self.ready_at: float = -math.inf
        self._delay = FIRST_DELAY_SECONDS

    def throttled(self, requests: int, now: float, *, retry_after: float = 0.0) -> None:
        """A batch of so many requests was too much now: try less, later."""
        self.max_requests = max(1, min(self.max_requests, requests // 2))
        self.ready_at = now + max(self._delay, min(retry_after, MAX_DELAY_SECONDS))
        self._delay = min(self._delay * 2, MAX_DELAY_SECONDS)

    def accepted(self, requests: int, now: float) -> None:
        """The upstream works on a batch of so many requests: it may take a little more."""
        if requests >= self.max_requests:
            self.max_requests = math.ceil(requests * GROWTH)
        self._delay = FIRST_DELAY_SECONDS

    def batch_ended(self, now: float) -> None:
        """A batch that the upstream had taken ended, and what it took up is free."""
        self.ready_at = min(self.ready_at, now)

    def submitted(self, now: float) -> None:
        """A batch is on its way: after a refusal the next one waits, until it is known or likely that it was taken."""
        if self.max_requests < math.inf:
            self.ready_at = max(self.ready_at, now + FIRST_DELAY_SECONDS)
