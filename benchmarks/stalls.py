"""The longest stall of an event loop, in a few bytes that two processes share."""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

BEAT_SECONDS = 0.002


class LongestStall:
    """Kept in a file, so that whoever measures can read it, and forget it, while the measured process runs.

    Args:
        path: a file of `SIZE` bytes; see `make`.
    """

    SIZE = 8

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._cell = mmap.mmap(file.fileno(), self.SIZE)

    @classmethod
    def make(cls, path: str) -> LongestStall:
        """A new file."""
        Path(path).write_bytes(bytes(cls.SIZE))
        return cls(path)

    @property
    def seconds(self) -> float:
        """The longest one since the last `forget`."""
        found: float = struct.unpack("d", self._cell[:])[0]
        return found

    def note(self, seconds: float) -> None:
        if seconds > self.seconds:
            self._cell[:] = struct.pack("d", seconds)

    def take(self) -> float:
        """The longest one, which is then forgotten."""
        seconds = self.seconds
        self._cell[:] = bytes(self.SIZE)
        return seconds

    async def watch(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """For ever: sleep for `BEAT_SECONDS`, and note how much later than that it was."""
        while True:
            begun = time.monotonic()
            await sleep(BEAT_SECONDS)
            self.note(time.monotonic() - begun - BEAT_SECONDS)
