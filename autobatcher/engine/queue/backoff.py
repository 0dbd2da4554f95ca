"""What an upstream's refusals for want of room taught: how much it takes in one batch, and from when. Pure."""

from __future__ import annotations

import math

FIRST_HOLD_SECONDS = 15.0
LONGEST_HOLD_SECONDS = 600.0
"""How long nothing is submitted after a refusal, growing with each in a row. Room comes when batches end, ours or those
of others; of ours we know at once."""

GROWTH = 1.5
"""By how much a batch may be larger than the last one that was taken, once there was a refusal."""


class Backoff:
    """The want of room for one kind of requests at one upstream: an account, and a model where models are not mixed.

    Attributes:
        most_requests: how many requests the next batch may have; infinite until something was refused.
        ready_at: when the next batch may be submitted.
    """

    def __init__(self) -> None:
        self.most_requests: float = math.inf
        self.ready_at: float = -math.inf
        self._hold = FIRST_HOLD_SECONDS

    def refused(self, requests: int, now: float, *, asked_seconds: float = 0.0) -> None:
        """A batch of so many requests was too much now: try less, later."""
        self.most_requests = max(1, min(self.most_requests, requests // 2))
        self.ready_at = now + max(self._hold, min(asked_seconds, LONGEST_HOLD_SECONDS))
        self._hold = min(self._hold * 2, LONGEST_HOLD_SECONDS)

    def taken(self, requests: int, now: float) -> None:
        """The upstream works on a batch of so many requests: it may take a little more."""
        if requests >= self.most_requests:
            self.most_requests = math.ceil(requests * GROWTH)
        self._hold = FIRST_HOLD_SECONDS

    def eased(self, now: float) -> None:
        """A batch that the upstream had taken ended, and what it took up is free."""
        self.ready_at = min(self.ready_at, now)

    def submitted(self, now: float) -> None:
        """A batch is on its way: after a refusal the next one waits, until it is known or likely that it was taken."""
        if self.most_requests < math.inf:
            self.ready_at = max(self.ready_at, now + FIRST_HOLD_SECONDS)
