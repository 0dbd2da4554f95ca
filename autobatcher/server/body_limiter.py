"""How many bytes of bodies the proxy holds: those that are received, queued or in a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable

from ..engine.shares import Shares

BUSY_SECONDS = 10
"""`Retry-After` in seconds when the proxy is full."""


class BodyLimiter:
    """Bounds the bytes of all bodies together, and of those that are received or queued.

    Args:
        most: maximum number of bytes.
        queue: returns how many bytes are queued, and how many may be. A body that is received counts as queued. As in
            the queue, one that is larger than that may be there alone.
        isolates: whether callers are strangers to each other, who leave room for others; see `Shares`.
        give_way: releases a body that is only kept in case, and returns False if there is none.
    """

    def __init__(
        self,
        most: int,
        queue: Callable[[], tuple[int, float]],
        *,
        isolates: bool = False,
        give_way: Callable[[], bool] = lambda: False,
    ) -> None:
        self._give_way = give_way
        self.most: int = most
        self.held: Shares = Shares(most, isolates=isolates)
        self.arriving: Shares = Shares(math.inf, isolates=isolates)
        self._queue = queue

    @property
    def queued(self) -> tuple[int, float]:
        """How many bytes arrive or are queued, and how many may be."""
        queued, most = self._queue()
        return self.arriving.used + queued, most

    def has_room(self, size: int, own: int, account: Hashable) -> bool:
        """Whether a body of which `own` bytes have arrived may have `size` more."""
        while self.held.used + size > self.most and self._give_way():
            pass
        if self.held.used + size > self.most or not self.held.allows(account, size):
            return False
        queued, most_queued = self._queue()
        others = self.arriving.used - own + queued
        if others == 0:
            return True
        self.arriving.limit = most_queued - queued
        return others + own + size <= most_queued and self.arriving.allows(account, size)


class HeldBody:
    """The bytes of one body, until `release`. Calling that twice is harmless.

    Args:
        account: whose body it is.
    """

    __slots__ = ("_account", "_arriving", "_limiter", "_size")

    def __init__(self, limiter: BodyLimiter, account: Hashable = None) -> None:
        self._limiter = limiter
        self._account = account
        self._size = 0
        self._arriving = 0

    def grow(self, size: int) -> bool:
        """Hold more bytes; False, and nothing changes, if there is no room for them."""
        if not self._limiter.has_room(size, self._arriving, self._account):
            return False
        self._limiter.held.take(self._account, size)
        self._limiter.arriving.take(self._account, size)
        self._size += size
        self._arriving += size
        return True

    def handed_over(self) -> HeldBody:
        """Hold the same bytes for somebody else. This one holds none any more."""
        other = HeldBody(self._limiter, self._account)
        other._size, other._arriving, self._size, self._arriving = self._size, self._arriving, 0, 0
        return other

    def can_ever_hold(self, size: int) -> bool:
        """Whether a body of that size fits when no other is there."""
        return size <= self.most

    @property
    def most(self) -> int:
        """The size of the largest body that can ever be held."""
        return self._limiter.most

    def enqueue(self) -> None:
        """The queue counts the body from now on, until it is uploaded."""
        self._limiter.arriving.give_back(self._account, self._arriving)
        self._arriving = 0

    def release(self) -> None:
        self.enqueue()
        self._limiter.held.give_back(self._account, self._size)
        self._size = 0
