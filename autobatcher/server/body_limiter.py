"""How many bytes of bodies the proxy holds: those that are received, queued or in a batch."""

from __future__ import annotations

from collections.abc import Callable

BUSY_SECONDS = 10
"""`Retry-After` in seconds when the proxy is full."""


class BodyLimiter:
    """Bounds the bytes of all bodies together, and of those that are received or queued.

    Args:
        most: maximum number of bytes.
        queue: returns how many bytes are queued, and how many may be. A body that is received counts as queued. As in
            the queue, one that is larger than that may be there alone.
    """

    def __init__(self, most: int, queue: Callable[[], tuple[int, float]]) -> None:
        self.most: int = most
        self.left: int = most
        self.arriving: int = 0
        self._queue = queue

    def has_room(self, size: int, own: int) -> bool:
        """Whether a body of which `own` bytes have arrived may have `size` more."""
        queued, most_queued = self._queue()
        others = self.arriving - own + queued
        return size <= self.left and (others == 0 or others + own + size <= most_queued)


class HeldBody:
    """The bytes of one body, until `release`. Calling that twice is harmless."""

    __slots__ = ("_arriving", "_limiter", "_size")

    def __init__(self, limiter: BodyLimiter) -> None:
        self._limiter = limiter
        self._size = 0
        self._arriving = 0

    def grow(self, size: int) -> bool:
        """Hold more bytes; False, and nothing changes, if there is no room for them."""
        if not self._limiter.has_room(size, self._arriving):
            return False
        self._limiter.left -= size
        self._limiter.arriving += size
        self._size += size
        self._arriving += size
        return True

    def can_ever_hold(self, size: int) -> bool:
        """Whether a body of that size fits when no other is there."""
        return size <= self.most

    @property
    def most(self) -> int:
        """The size of the largest body that can ever be held."""
        return self._limiter.most

    def enqueue(self) -> None:
        """The queue counts the body from now on, until it is uploaded."""
        self._limiter.arriving -= self._arriving
        self._arriving = 0

    def release(self) -> None:
        self.enqueue()
        self._limiter.left += self._size
        self._size = 0
