"""A journal for everybody but an engine: to read at any time, or to change what no engine uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from ...errors import JournalError
from ...upstream.account import Account
from ..journal_url import MISSING, JournalUrl, Place
from .charges import KeptCharge
from .health import Fleet, Report, Session, TableSize
from .identity import fingerprint
from .reading import JournalEditor, JournalReader, Paid
from .records import BatchRecord
from .rows import Result
from .sqlite_reading import delete_journal, edit_file, read_file

__all__ = [
    "Fleet",
    "JournalEditor",
    "JournalReader",
    "KeptCharge",
    "Paid",
    "Report",
    "Result",
    "Session",
    "TableSize",
    "delete_journal",
    "edit_journal",
    "is_payer",
    "is_there",
    "migrate_journal",
    "read_journal",
    "report_on",
]


def is_there(place: Place) -> bool:
    """Whether there is a journal, or something else in its place. Raises `JournalError` if that cannot be asked."""
    if not isinstance(place, JournalUrl):
        return place.exists()
    with _psycopg_needed():
        from .postgres.reading import has_tables
    return has_tables(place)


def read_journal(place: Place) -> AbstractContextManager[JournalReader]:
    """The journal at `place`, which must exist.

    Raises:
        JournalError: if it is no journal, or stops being one while the block reads it.
    """
    if not isinstance(place, JournalUrl):
        return read_file(place)
    with _psycopg_needed():
        from .postgres.reading import read_shared
    return read_shared(place)


def edit_journal(place: Place) -> AbstractContextManager[JournalEditor]:
    """The journal at `place`, which must exist. No engine can use a file meanwhile.

    Raises:
        JournalInUseError: if an engine uses the file.
        JournalError: as `read_journal`.
    """
    if not isinstance(place, JournalUrl):
        return edit_file(place)
    with _psycopg_needed():
        from .postgres.reading import edit_shared
    return edit_shared(place)


def migrate_journal(url: JournalUrl) -> bool:
    """Make the tables of a journal on PostgreSQL, or bring older ones up to date. Returns whether that was to be done.

    Raises:
        JournalError: if it is of a newer autobatcher or no journal, or this role may not do it.
    """
    with _psycopg_needed():
        from .postgres.report import migrate_journal
    return migrate_journal(url)


def report_on(url: JournalUrl) -> Report:
    """Look at a journal on PostgreSQL: who may use it, who does, and how large it is. Changes nothing.

    Raises:
        JournalError: if the database cannot be reached, or it is not a journal.
    """
    with _psycopg_needed():
        from .postgres.report import report_on
    return report_on(url)


@contextmanager
def _psycopg_needed() -> Iterator[None]:
    """Where psycopg is imported, which takes a tenth of a second."""
    try:
        yield
    except ImportError as error:  # psycopg is there, but not libpq
        raise JournalError(f"A journal {MISSING} ({error}).") from error


def is_payer(account: Account, batch: BatchRecord) -> bool:
    """Whether the batch was made with this account's base URL, credentials, headers and query."""
    return batch.account == fingerprint(account)
