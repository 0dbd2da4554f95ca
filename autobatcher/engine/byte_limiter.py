"""How many bytes may be queued: who comes when it is full waits, in turn."""

from __future__ import annotations

import anyio


class ByteLimiter:
    """Lets in up to `limit` bytes at a time. One request larger than that is let in alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._waiting: dict[anyio.Event, int] = {}  # in the order in which they came

    async def acquire(self, size: int) -> None:
        """Wait until there is room for `size` bytes, and take it up; `release` gives it back.

        Cancelled: nothing is taken up.
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
        """The same without waiting. Raises `anyio.WouldBlock` if there is no room, or others wait."""
        if self._waiting or not self._has_room(size):
            raise anyio.WouldBlock
        self._used += size

    def release(self, size: int) -> None:
        """`size` bytes are queued no more. Synchronous."""
        self._used -= size
        self._admit()

    def admit_all(self) -> None:
        """Let everyone in: what it guards has ended, and will say so itself."""
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
