"""One engine at a time per journal. An operating system lock, so no crash leaves it behind."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path

from ...errors import JournalError, JournalInUseError
from .file_checks import Identity, check_file, create_private, make_private, place_of
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
        self._lock_file = lock_file_of(path)
        with as_journal_error(path):
            examine(path)  # nothing is put beside a file that is no journal of ours
            while (connection := _lock(path)) is None:
                pass
        self._connection = connection

    def release(self) -> None:
        """Release the lock. Can be called again."""
        self._connection.close()

    def release_and_delete(self) -> None:
        """Release the lock, and delete its file. Who waits for the lock makes another one."""
        with suppress(PermissionError):  # Windows deletes no open file
            self._lock_file.unlink(missing_ok=True)
        self.release()
        if sys.platform == "win32":
            with suppress(PermissionError):  # somebody waits for the lock
                self._lock_file.unlink(missing_ok=True)


def _lock(path: Path) -> sqlite3.Connection | None:
    """Take the lock. None if its file was deleted meanwhile: whoever comes next would lock another one."""
    place = lock_file_of(path)
    create_private(place)
    try:
        identity = _checked(place)
        connection = sqlite3.connect(
            f"{place.as_uri()}?mode=rw",
            uri=True,
            timeout=PATIENCE_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
    except (FileNotFoundError, sqlite3.OperationalError):
        if os.path.lexists(place):
            raise
        return None
    try:
        _begin(connection, path)
        is_in_place = check_file(place, _WHAT) == identity
    except BaseException:
        connection.close()
        raise
    if not is_in_place:
        connection.close()
        return None
    return connection


def _begin(connection: sqlite3.Connection, path: Path) -> None:
    try:
        connection.execute("PRAGMA journal_mode = MEMORY")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("PRAGMA user_version = 1")  # never committed; fails if read-only
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise JournalError(f"{lock_file_of(path)} is not an empty file that can be written ({error}).") from error
        raise JournalInUseError(
            f"The journal {path} is in use by another engine{_owner_of(path)}. Only one can use it at a "
            "time: give this one its own journal, or wait until the other one has ended."
        ) from error


_WHAT = "The journal's lock file"


def _checked(place: Path) -> Identity | None:
    """Make sure that it is an empty file of ours that nobody else can open: who can read it can lock it.

    Raises:
        FileNotFoundError: if it was deleted meanwhile.
    """
    identity = check_file(place, _WHAT)
    if place.stat().st_size > 0 or os.path.lexists(place.with_name(place.name + "-journal")):
        raise JournalError(f"{place} is not an empty file of autobatcher. Delete it if no program uses the journal.")
    make_private(place)
    return identity


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
