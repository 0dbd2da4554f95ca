"""How many bytes of bodies the proxy holds: those that are received, queued or in a batch."""

from __future__ import annotations

BUSY_SECONDS = 10
"""`Retry-After` in seconds when the proxy is full."""


class BodyLimiter:
    """Bounds the bytes of all bodies together.

    Args:
        most: maximum number of bytes.
    """

    def __init__(self, most: int) -> None:
        self.left: int = most


class HeldBody:
    """The bytes of one body, until `release`. Calling that twice is harmless."""

    __slots__ = ("_limiter", "_size")

    def __init__(self, limiter: BodyLimiter) -> None:
        self._limiter = limiter
        self._size = 0

    def grow(self, size: int) -> bool:
        """Hold more bytes; False, and nothing changes, if there is no room for them."""
        if size > self._limiter.left:
            return False
        self._limiter.left -= size
        self._size += size
        return True

    def release(self) -> None:
        self._limiter.left += self._size
        self._size = 0
