"""How fast a download must be. Pure."""

from __future__ import annotations

LEAST_BYTES = 300_000
PROGRESS_SECONDS = 300.0
"""A download must bring so many bytes in so many seconds, or end. That is 1 kB/s; a file that drips is never silent,
and never ends."""


class Progress:
    """Counts what a download brings, and how long it is waited for. Time in which nobody waits does not count.

    Attributes:
        seconds_left: how long the next chunk may take.
    """

    def __init__(self) -> None:
        self.seconds_left: float = PROGRESS_SECONDS
        self._received = 0

    def record(self, size: int, seconds: float) -> None:
        """Record a chunk of `size` bytes that was waited for so long."""
        self._received += size
        self.seconds_left -= seconds
        if self._received >= LEAST_BYTES:
            self._received, self.seconds_left = 0, PROGRESS_SECONDS
