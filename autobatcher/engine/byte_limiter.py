"""Limits how many bytes are queued."""

from __future__ import annotations

import anyio


class ByteLimiter:
    """A fair limiter of bytes: waiters are admitted in order. A request larger than `limit` is admitted alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._waiting: dict[anyio.Event, int] = {}  # in order of arrival

    @property
    def used(self) -> int:
        """How many bytes are taken."""
        return self._used

    async def acquire(self, size: int) -> None:
        """Wait for capacity for `size` bytes, and take it until `release`.

        Cancelled: nothing is taken.
        """
        if not self._waiting and self._has_room(size):
            self._used += size
            return
        admitted = anyio.Event()
        self._waiting[admitted] = size
        try:
            await admitted.wait()
        except BaseException:
            if admitted.is_set():  # and cancelled at the same time
                self.release(size)
            else:
                del self._waiting[admitted]
                self._admit()
            raise

    def acquire_nowait(self, size: int) -> None:
        """Like `acquire`, but raise `anyio.WouldBlock` instead of waiting."""
        if self._waiting or not self._has_room(size):
            raise anyio.WouldBlock
        self._used += size

    def release(self, size: int) -> None:
        """Return the capacity of `size` bytes. Synchronous."""
        self._used -= size
        self._admit()

    def admit_all(self) -> None:
        """Admit all waiters, because the engine has closed and will refuse them itself."""
        for admitted, size in self._waiting.items():
            self._used += size
            admitted.set()
        self._waiting.clear()

    def _has_room(self, size: int) -> bool:
        return self._used == 0 or self._used + size <= self._limit

    def _admit(self) -> None:
        while self._waiting:
            admitted, size = next(iter(self._waiting.items()))
            if not self._has_room(size):
                return
            del self._waiting[admitted]
            self._used += size
            admitted.set()
