"""The journal's SQLite file: opening, permissions, transactions. Synchronous; for one thread."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import JournalError
from . import schema

BUSY_SECONDS = 10.0
"""How long to wait for another connection: `autobatcher forget`, or an earlier process that is closing."""


class SQLiteFile:
    """One connection.

    Args:
        path: created with mode 0600 if missing, unless `is_read_only`.

    Raises:
        JournalError: if the file cannot be used.
    """

    def __init__(self, path: Path, *, is_read_only: bool = False) -> None:
        self._path = path
        self._is_read_only = is_read_only
        with as_journal_error(path):
            if is_read_only:
                uri = f"{path.resolve(strict=True).as_uri()}?mode=ro"
                self._db = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
                self._run_or_close(self._check)
            else:
                make_private(path)
                self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
                self._run_or_close(self._prepare)
            self._identity = _identity_of(path)

    def check_in_place(self) -> None:
        """Raise `JournalError` if the path leads to another file by now, or to none: what is written would be lost."""
        try:
            found = _identity_of(self._path)
        except OSError:
            found = None
        if found != self._identity:
            what = "was deleted" if found is None else "was replaced by another file"
            raise JournalError(
                f"The journal {self._path} {what} while it was in use. Restart with a journal that nobody else touches."
            )

    def _run_or_close(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException:
            self._db.close()
            raise

    def _check(self) -> None:
        schema.check_version(self._db.execute("PRAGMA user_version").fetchone()[0])
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables.issuperset(schema.TABLES):
            raise JournalError("The file is an SQLite database, but no journal of autobatcher.")

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # an intent must survive a power failure
        schema.migrate(self._db)

    def close(self) -> None:
        """Close the connection. Afterwards everything is in the one file, unless somebody reads it just now."""
        if not self._is_read_only:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in a transaction: all or nothing, and on disk when the block ends."""
        self.check_in_place()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")  # which fails, too, if the disk is full
        except BaseException:
            self._on_rollback()
            if self._db.in_transaction:  # SQLite may have rolled back by itself
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Run the block in a savepoint of the current transaction. An exception undoes only the block."""
        self._db.execute("SAVEPOINT one")
        try:
            yield
        except BaseException:
            self._on_rollback()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK TO one")
                self._db.execute("RELEASE one")
            raise
        self._db.execute("RELEASE one")

    def _on_rollback(self) -> None:
        """Called when a transaction or savepoint is rolled back."""


def _identity_of(path: Path) -> tuple[int, int]:
    """Which file this is."""
    found = path.stat()
    return found.st_dev, found.st_ino


def make_private(path: Path) -> None:
    """Create the file if missing, and make it readable by its owner only. SQLite's companion files inherit the
    permissions."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)


@contextmanager
def as_journal_error(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and the operating system into `JournalError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise JournalError(f"The journal {path} cannot be used: {reason}.") from error
