"""One engine at a time per journal. An operating system lock, so no crash leaves it behind."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from ...errors import JournalError, JournalInUseError
from .file_checks import check_file, create_private, make_private, place_of
from .sqlite_file import as_journal_error, examine

PATIENCE_SECONDS = 2.0
"""How long to wait for an earlier engine that is still closing: restarts come quickly."""


class Ownership:
    """The lock of a journal. Acquired on construction; not re-entrant.

    It is an exclusive transaction on an empty SQLite file beside the journal. That is a lock wherever SQLite runs, and
    does not block readers of the journal itself.

    Raises:
        JournalInUseError: if another engine holds it.
        JournalError: if the journal or the lock file is not ours alone, or the lock file not writable.
    """

    def __init__(self, path: Path) -> None:
        path = place_of(path)
        with as_journal_error(path):
            examine(path)  # nothing is put beside a file that is no journal of ours
            _make_lock_file(lock_file_of(path))
        self._connection = sqlite3.connect(
            lock_file_of(path), timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._connection.execute("PRAGMA journal_mode = MEMORY")
            self._connection.execute("BEGIN EXCLUSIVE")
            self._connection.execute("PRAGMA user_version = 1")  # never committed; fails if read-only
        except sqlite3.DatabaseError as error:
            self._connection.close()
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise JournalError(
                    f"{lock_file_of(path)} is not an empty file that can be written ({error})."
                ) from error
            raise JournalInUseError(
                f"The journal {path} is in use by another engine{_owner_of(path)}. Only one can use it at a "
                "time: give this one its own journal, or wait until the other one has ended."
            ) from error

    def release(self) -> None:
        """Release the lock. Can be called again."""
        self._connection.close()


def _make_lock_file(place: Path) -> None:
    """Make sure that there is an empty file of ours that nobody else can open: who can read it can lock it."""
    create_private(place)
    check_file(place, "The journal's lock file")
    if place.stat().st_size > 0 or os.path.lexists(place.with_name(place.name + "-journal")):
        raise JournalError(f"{place} is not an empty file of autobatcher. Delete it if no program uses the journal.")
    make_private(place)


def lock_file_of(path: Path) -> Path:
    """The path of the lock file."""
    return path.with_name(path.name + "-lock")


def _owner_of(path: Path) -> str:
    """Describe the process that holds the lock, as far as the journal says."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            pid, host = connection.execute("SELECT pid, host FROM sessions ORDER BY number DESC LIMIT 1").fetchone()
    except (sqlite3.Error, TypeError, OSError):
        return ""
    return f" (process {pid} on {host})"
