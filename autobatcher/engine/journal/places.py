"""Which journal is at a place: a file, or a database."""

from __future__ import annotations

from typing import Any

from ...errors import JournalError
from ..journal_url import MISSING, JournalUrl, Place
from .journal import Journal

PATIENCE_SECONDS = 60.0
"""How long to wait for a database that cannot be reached, where nobody says how long."""


def journal_at(place: Place, *, patience_seconds: float = PATIENCE_SECONDS, **options: Any) -> Journal:
    """The journal there, not open yet.

    Args:
        patience_seconds: how long to wait for a database that cannot be reached.
        options: what `Journal` takes.

    Raises:
        JournalError: if a package is missing.
    """
    if isinstance(place, JournalUrl):
        try:
            from .shared_journal import SharedJournal
        except ImportError as error:  # psycopg is there, but not libpq
            raise JournalError(f"A journal {MISSING} ({error}).") from error
        return SharedJournal(place, patience_seconds=patience_seconds, **options)
    from .file_journal import FileJournal

    return FileJournal(place, **options)
