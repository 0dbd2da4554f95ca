"""Unclaimed lines of earlier batches, by what they ask. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ..journal.records import UnclaimedLine

LOOKED_AT_AT_ONCE = 2_000
"""How many kinds of lines a step of forgetting looks at. Takes some milliseconds."""


class UnclaimedLines:
    """Lines of batches that requests can claim. Identical requests are not merged: five lines serve five."""

    def __init__(self) -> None:
        self._lines: dict[bytes, UnclaimedLine | deque[UnclaimedLine]] = {}  # a deque of one takes 600 bytes
        self._forgetting: Iterator[None] | None = None

    def __bool__(self) -> bool:
        """Whether there may be any."""
        return bool(self._lines)

    def __iter__(self) -> Iterator[UnclaimedLine]:
        return (line for lines in self._lines.values() for line in _each(lines) if not line.is_gone)

    def add(self, digest: bytes, line: UnclaimedLine) -> None:
        """Make `line` claimable."""
        others = self._lines.get(digest)
        if isinstance(others, deque):
            others.append(line)
        else:
            self._lines[digest] = line if others is None else deque((others, line))

    def claim(self, digest: bytes) -> UnclaimedLine | None:
        """Remove and return the oldest line with this digest; None if there is none."""
        lines = self._lines.pop(digest, None)
        if not isinstance(lines, deque):
            return None if lines is None or lines.is_gone else lines
        while lines:
            if not (line := lines.popleft()).is_gone:
                if lines:
                    self._lines[digest] = lines
                return line
        return None

    def forget_old(self, stored_before: float, unread_before: float) -> None:
        """Forget answers stored before `stored_before`, and lines unclaimed since before `unread_before`: some at once,
        more with each `forget_more`."""
        self._forgetting = self._forgetting or self._steps_of_forgetting(stored_before, unread_before)
        self.forget_more()

    def forget_more(self) -> None:
        """Go on, if there is more to forget."""
        if self._forgetting is not None and next(self._forgetting, _END) is _END:
            self._forgetting = None

    def _steps_of_forgetting(self, stored_before: float, unread_before: float) -> Iterator[None]:
        for number, digest in enumerate(list(self._lines), start=1):
            kept = [
                line
                for line in _each(self._lines.pop(digest, ()))
                if not line.is_gone and line.unclaimed_since >= (stored_before if line.is_stored else unread_before)
            ]
            if kept:
                self._lines[digest] = kept[0] if len(kept) == 1 else deque(kept)
            if number % LOOKED_AT_AT_ONCE == 0:
                yield


_END = object()


def _each(lines: UnclaimedLine | deque[UnclaimedLine] | tuple[()]) -> Iterator[UnclaimedLine]:
    return iter((lines,) if isinstance(lines, UnclaimedLine) else lines)
