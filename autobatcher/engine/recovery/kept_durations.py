"""How long batches and calls took, kept in the journal, so that the next run plans with what this one learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lanes.durations import Durations

if TYPE_CHECKING:
    from ..journal.journal import Journal  # imported at run time only if used: some Pythons lack sqlite3

KEPT_EVERY_SECONDS = 600.0
"""How much of it a crash may lose."""


class KeptDurations:
    """The durations of one engine, and their copy in its journal."""

    def __init__(self, journal: Journal, durations: Durations) -> None:
        self._journal = journal
        self._durations = durations
        self._kept_at = 0.0

    def load(self, content: bytes) -> None:
        """Begin with what earlier runs learned. What is damaged counts as nothing learned."""
        now = self._kept_at = self._journal.wall_clock()
        self._durations.adopt(Durations.decoded(content))
        self._durations.pass_time(now)

    def keep_now_and_then(self) -> None:
        """Keep them, unless that was done a short while ago."""
        if self._journal.wall_clock() - self._kept_at >= KEPT_EVERY_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Keep them, if there are any."""
        self._kept_at = self._journal.wall_clock()
        if self._durations:
            self._journal.keep_durations(self._durations.encoded())
