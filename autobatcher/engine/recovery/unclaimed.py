"""Unclaimed lines of earlier batches, by what they ask. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ..journal.records import UnclaimedLine


class UnclaimedLines:
    """Lines of batches that requests can claim. Identical requests are not merged: five lines serve five."""

    def __init__(self) -> None:
        self._lines: dict[bytes, deque[UnclaimedLine]] = {}

    def __bool__(self) -> bool:
        """Whether there may be any."""
        return bool(self._lines)

    def __iter__(self) -> Iterator[UnclaimedLine]:
        return (line for lines in self._lines.values() for line in lines if not line.is_gone)

    def add(self, digest: bytes, line: UnclaimedLine) -> None:
        """Make `line` claimable."""
        self._lines.setdefault(digest, deque()).append(line)

    def forget_old(self, stored_before: float, unread_before: float) -> None:
        """Forget answers stored before `stored_before`, and lines unclaimed since before `unread_before`."""
        for digest, lines in list(self._lines.items()):
            kept = [
                line
                for line in lines
                if not line.is_gone and line.unclaimed_since >= (stored_before if line.is_stored else unread_before)
            ]
            if kept:
                self._lines[digest] = deque(kept)
            else:
                del self._lines[digest]

    def claim(self, digest: bytes) -> UnclaimedLine | None:
        """Remove and return the oldest line with this digest; None if there is none."""
        lines = self._lines.get(digest)
        claimed = None
        while lines and claimed is None:
            line = lines.popleft()
            claimed = None if line.is_gone else line
        if lines is not None and not lines:
            del self._lines[digest]
        return claimed
