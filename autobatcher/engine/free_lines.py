"""Which lines of earlier batches nobody waits for, by what they asked. Pure."""

from __future__ import annotations

from collections import deque

from .journal.records import FreeLine


class FreeLines:
    """Lines of batches, each of which one request can have. Equal requests are counted: five lines serve five."""

    def __init__(self) -> None:
        self._lines: dict[bytes, deque[FreeLine]] = {}

    def __bool__(self) -> bool:
        """Whether there may be any."""
        return bool(self._lines)

    def add(self, digest: bytes, line: FreeLine) -> None:
        """Nobody waits for `line` now."""
        self._lines.setdefault(digest, deque()).append(line)

    def forget_old(self, before: float) -> None:
        """Forget lines that have been free since before that moment."""
        for digest, lines in list(self._lines.items()):
            while lines and lines[0].free_since < before:
                lines.popleft()
            if not lines:
                del self._lines[digest]

    def take(self, digest: bytes) -> FreeLine | None:
        """The line that has been free for longest and asked the same; None if there is none."""
        lines = self._lines.get(digest)
        taken = None
        while lines and taken is None:
            line = lines.popleft()
            taken = None if line.is_gone else line
        if lines is not None and not lines:
            del self._lines[digest]
        return taken
