"""Lines that nobody waits for, in a shared journal: every engine that uses it can claim them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..journal.records import UnclaimedLine
from .unclaimed import UnclaimedLines

if TYPE_CHECKING:
    from ..journal.shared_journal import SharedJournal


class FreedLines(UnclaimedLines):
    """Has no lines itself: they are in the journal, where `SharedJournal.claim` finds them."""

    def __init__(self, journal: SharedJournal) -> None:
        super().__init__()
        self._journal = journal

    def add(self, digest: bytes, line: UnclaimedLine) -> None:
        """Free the line. The journal knows its digest."""
        self._journal.free(line)
