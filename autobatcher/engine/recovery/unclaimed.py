"""Which lines of earlier batches nobody waits for, by what they asked. Pure."""

from __future__ import annotations

from collections import deque

from ..journal.records import UnclaimedLine


class UnclaimedLines:
    """Lines of batches, each of which one request can have. Equal requests are counted: five lines serve five."""

    def __init__(self) -> None:
        self._lines: dict[bytes, deque[UnclaimedLine]] = {}

    def __bool__(self) -> bool:
        """Whether there may be any."""
        return bool(self._lines)

    def add(self, digest: bytes, line: UnclaimedLine) -> None:
        """Nobody waits for `line` now."""
        self._lines.setdefault(digest, deque()).append(line)

    def forget_old(self, stored_before: float, unread_before: float) -> None:
        """Forget answers that were there before the first moment, and lines free since before the second one."""
        for digest, lines in list(self._lines.items()):
            kept = [
                line for line in lines if line.unclaimed_since >= (stored_before if line.is_stored else unread_before)
            ]
            if kept:
                self._lines[digest] = deque(kept)
            else:
                del self._lines[digest]

    def claim(self, digest: bytes) -> UnclaimedLine | None:
        """The line that has been free for longest and asked the same; None if there is none."""
        lines = self._lines.get(digest)
        taken = None
        while lines and taken is None:
            line = lines.popleft()
            taken = None if line.is_gone else line
        if lines is not None and not lines:
            del self._lines[digest]
        return taken
