"""How many bytes may be queued: who comes when it is full waits, in turn."""

from __future__ import annotations

import anyio


class ByteLimiter:
    """Lets in up to `most` bytes at a time. One request larger than that is let in alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside = 0
        self._waiting: dict[anyio.Event, int] = {}  # in the order in which they came

    async def acquire(self, size: int) -> None:
        """Wait until there is room for `size` bytes, and take it up; `release` gives it back.

        Cancelled: nothing is taken up.
        """
        if not self._waiting and self._has_room(size):
            self._inside += size
            return
        let_in = anyio.Event()
        self._waiting[let_in] = size
        try:
            await let_in.wait()
        except BaseException:
            if let_in.is_set():  # and cancelled at the same time
                self.release(size)
            else:
                del self._waiting[let_in]
                self._let_in()
            raise

    def acquire_nowait(self, size: int) -> None:
        """The same without waiting. Raises `anyio.WouldBlock` if there is no room, or others wait."""
        if self._waiting or not self._has_room(size):
            raise anyio.WouldBlock
        self._inside += size

    def release(self, size: int) -> None:
        """`size` bytes are queued no more. Synchronous."""
        self._inside -= size
        self._let_in()

    def open(self) -> None:
        """Let everyone in: what it guards has ended, and will say so itself."""
        for let_in, size in self._waiting.items():
            self._inside += size
            let_in.set()
        self._waiting.clear()

    def _has_room(self, size: int) -> bool:
        return self._inside == 0 or self._inside + size <= self._most

    def _let_in(self) -> None:
        while self._waiting:
            let_in, size = next(iter(self._waiting.items()))
            if not self._has_room(size):
                return
            del self._waiting[let_in]
            self._inside += size
            let_in.set()
