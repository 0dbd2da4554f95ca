"""How many bytes may be queued: who comes when it is full waits, in turn."""

from __future__ import annotations

from collections import deque

import anyio


class Gate:
    """Lets in up to `most` bytes at a time. One request larger than that is let in alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside = 0
        self._waiting: deque[tuple[int, anyio.Event]] = deque()

    async def enter(self, size: int) -> None:
        """Wait until there is room for `size` bytes, and take it up; `leave` gives it back.

        Cancelled: nothing is taken up.
        """
        if not self._waiting and self._has_room(size):
            self._inside += size
            return
        place = size, anyio.Event()
        self._waiting.append(place)
        try:
            await place[1].wait()
        except BaseException:
            if place[1].is_set():  # let in and cancelled at the same time
                self.leave(size)
            else:
                self._waiting.remove(place)
                self._let_in()
            raise

    def enter_nowait(self, size: int) -> None:
        """The same without waiting. Raises `anyio.WouldBlock` if there is no room, or others wait."""
        if self._waiting or not self._has_room(size):
            raise anyio.WouldBlock
        self._inside += size

    def leave(self, size: int) -> None:
        """`size` bytes are queued no more. Synchronous."""
        self._inside -= size
        self._let_in()

    def open(self) -> None:
        """Let everyone in: what is behind the gate has ended, and will say so itself."""
        for size, event in self._waiting:
            self._inside += size
            event.set()
        self._waiting.clear()

    def _has_room(self, size: int) -> bool:
        return self._inside == 0 or self._inside + size <= self._most

    def _let_in(self) -> None:
        while self._waiting and self._has_room(self._waiting[0][0]):
            size, event = self._waiting.popleft()
            self._inside += size
            event.set()
