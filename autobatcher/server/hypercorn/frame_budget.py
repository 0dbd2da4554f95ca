"""How many HTTP/2 frames a client may send that carry no request on. Pure.

A flood of pings, settings, resets, or bodies in pieces of one byte costs a client nothing, and us 50 µs a frame.
hypercorn has no bound for it, and h2 has one for CONTINUATION frames only.
"""

from __future__ import annotations

MOST_FRAMES = 5_000
"""How many frames may come at once. Five hundred requests at a time, all cancelled and sent again, are 1,500."""

FRAMES_PER_SECOND = 100.0
"""How fast a used budget comes back. An answer brings back more: see `earn`."""

SMALL_BYTES = 256
"""A DATA frame with fewer bytes that does not end its body counts."""

MOST_FRAME_BYTES = 2**14
"""The largest frame that we allow in our settings. h2 would buffer 16 MB of a larger one before it refuses it."""

SETTINGS_COST = 20
"""Settings may concern each stream of the connection."""

_HEAD_BYTES = 9
_DATA, _SETTINGS = 0, 4
_END_STREAM = 1
_PREFACE_BYTES = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


class FrameBudget:
    """The budget of one connection.

    Args:
        now: the time in seconds, here and later.
    """

    def __init__(self, now: float) -> None:
        self._left: float = MOST_FRAMES
        self._counted_at = now
        self._head = b""
        self._skipped = _PREFACE_BYTES

    def spend(self, chunk: bytes, now: float) -> bool:
        """Count the frames that begin in the next chunk of what the client sends. False once that is too much."""
        self.earn((now - self._counted_at) * FRAMES_PER_SECOND)
        self._counted_at = now
        at = 0
        while at < len(chunk):
            if self._skipped:
                step = min(self._skipped, len(chunk) - at)
                self._skipped -= step
            else:
                step = min(_HEAD_BYTES - len(self._head), len(chunk) - at)
                self._head += chunk[at : at + step]
                if len(self._head) == _HEAD_BYTES:
                    self._take_head()
            at += step
        return self._left >= 0

    def earn(self, frames: float) -> None:
        """Give back part of the budget: time has passed, or the client was sent something that it asked for."""
        self._left = min(self._left + frames, MOST_FRAMES)

    def _take_head(self) -> None:
        size, kind, flags = int.from_bytes(self._head[:3]), self._head[3], self._head[4]
        self._head, self._skipped = b"", size
        if size > MOST_FRAME_BYTES:
            self._left = -1
        elif kind == _SETTINGS:
            self._left -= SETTINGS_COST
        elif kind != _DATA or (size < SMALL_BYTES and not flags & _END_STREAM):
            self._left -= 1
