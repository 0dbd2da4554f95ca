"""The journal's SQLite file: opening, permissions, transactions. Synchronous; for one thread."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ...errors import JournalError
from . import schema
from .failures import JournalLostError
from .file_checks import Identity, check_files, create_private, make_private, place_of
from .row_checks import MAX_ROW_BYTES, check_rows
from .schema import check_schema

logger: logging.Logger = logging.getLogger("autobatcher")

BUSY_SECONDS = 10.0
"""How long to wait for another connection: `autobatcher forget`, or an earlier process that is closing."""


class SQLiteFile:
    """One connection.

    Args:
        path: created with mode 0600 if missing, unless `is_read_only`.

    Raises:
        JournalError: if the file cannot be used, or is not ours alone. It is then as it was.
    """

    def __init__(self, path: Path, *, is_read_only: bool = False) -> None:
        self._path = place_of(path)
        self._is_read_only = is_read_only
        with as_journal_error(path):
            found = examine(path, must_exist=is_read_only, checks_rows=True)
            self._identity = self._created_if_missing()
            self._db = connect(self._path, "ro" if is_read_only else "rw")
            self._run_or_close(partial(self._check, checks_rows=not found.has_checked_rows))
            self.lacks_wal: bool = found.lacks_wal and self._has_open_mark()
            if not is_read_only:
                self._run_or_close(self._prepare)
                if self.lacks_wal:
                    logger.warning("autobatcher: %s", lack_of_wal(self._path))

    def _created_if_missing(self) -> Identity:
        identity = check_files(self._path)
        if identity is None and not self._is_read_only:
            create_private(self._path)
            identity = check_files(self._path)
        if identity is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._path))
        return identity

    def check_in_place(self) -> None:
        """Raise `JournalError` if the path leads to another file by now, or to none: what is written would be lost."""
        try:
            found = _identity_of(self._path)
        except OSError:
            found = None
        if found != self._identity:
            what = "was deleted" if found is None else "was replaced by another file"
            raise JournalLostError(
                f"The journal {self._path} {what} while it was in use. Restart with a journal that nobody else touches."
            )

    def _run_or_close(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException:
            self._db.close()
            raise

    def _check(self, *, checks_rows: bool) -> None:
        """Check what SQLite has opened, with the files beside it."""
        self._is_new = not check_schema(self._db, may_be_empty=not self._is_read_only)
        if checks_rows and not self._is_new:
            check_rows(self._db)
        if check_files(self._path) != self._identity:
            raise JournalError(f"The journal {self._path} was replaced by another file while it was opened.")

    def _has_open_mark(self) -> bool:
        application: int = self._db.execute("PRAGMA application_id").fetchone()[0]
        return application == schema.OPEN

    def _prepare(self) -> None:
        make_private(self._path)  # SQLite's companion files inherit the mode
        if self._is_new:
            self._db.execute("PRAGMA journal_mode = MEMORY")  # a -journal file, if only for a moment, would be refused
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # an intent must survive a power failure
        schema.migrate(self._db)
        self._db.execute(f"PRAGMA application_id = {schema.OPEN}")
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")  # so that a copy of the main file alone has the mark

    def close(self) -> None:
        """Close the connection. Afterwards everything is in the one file, unless somebody reads it just now."""
        try:
            if not self._is_read_only:
                self._db.execute(f"PRAGMA application_id = {schema.CLOSED}")
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
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
    def snapshot(self) -> Iterator[None]:
        """Let all statements of the block read one state of the file, though others write it."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

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


def _identity_of(path: Path) -> Identity:
    """Which file this is."""
    found = path.lstat()
    return found.st_dev, found.st_ino


class Found(NamedTuple):
    """What a look at a journal's file found.

    Attributes:
        lacks_wal: whether it was copied while it was in use, without its -wal file.
        has_checked_rows: whether what is in it was checked: all that is in it is in this one file.
    """

    lacks_wal: bool = False
    has_checked_rows: bool = False


def examine(path: Path, *, must_exist: bool = False, checks_rows: bool = False) -> Found:
    """Look at a journal's file, change nothing, and leave nothing beside it.

    Raises:
        JournalError: if it is not ours alone, or no journal.
        OSError, sqlite3.Error: if it cannot be read.
    """
    place = place_of(path)
    try:
        if check_files(place) is not None:
            return _examine(place, must_exist=must_exist, checks_rows=checks_rows)
    except (FileNotFoundError, sqlite3.OperationalError):
        if os.path.lexists(place):
            raise  # else its last owner deleted it meanwhile
    if must_exist:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))
    return Found()


def _examine(place: Path, *, must_exist: bool, checks_rows: bool) -> Found:
    rest = _at_rest(place)  # before SQLite opens the file: what it keeps from then on does not fit what comes later
    with closing(connect(place, "ro&immutable=1")) as connection:  # immutable: without the files beside it
        try:
            is_journal = check_schema(connection, may_be_empty=rest is None or not must_exist)
            (application,) = connection.execute("PRAGMA application_id").fetchone()
        except sqlite3.DatabaseError:
            # A checkpoint was under way, or its process died in the middle of it. With its -wal file the file is whole.
            if _is_in_use(place, rest) and _has_our_header(place):
                return Found()
            raise
        can_check_rows = checks_rows and is_journal and not _is_in_use(place, rest)
        if can_check_rows:
            can_check_rows = _check_rows_if_unused(connection, place, rest)
        return Found(application == schema.OPEN and not _is_in_use(place, rest), can_check_rows)


def _check_rows_if_unused(connection: sqlite3.Connection, place: Path, rest: _Rest | None) -> bool:
    """Check the rows of a file that nobody changes. Returns False if an engine has begun to."""
    try:
        check_rows(connection)
    except (JournalError, sqlite3.Error, UnicodeDecodeError):
        if not _is_in_use(place, rest):
            raise
        return False
    return True


_Rest = tuple[int, int]
"""The size of a file, and when it was changed."""


def _at_rest(place: Path) -> _Rest | None:
    """The state of a file; None if there is more of it in its -wal file."""
    if _has_wal(place):
        return None
    found = place.lstat()
    return found.st_size, found.st_mtime_ns


def _is_in_use(place: Path, rest: _Rest | None) -> bool:
    """Whether an engine uses the file, or has used it since its state was this one."""
    return rest is None or _at_rest(place) != rest


def _has_our_header(place: Path) -> bool:
    """Whether an SQLite file says that it is a journal. (www.sqlite.org/fileformat.html: the application id)"""
    with place.open("rb") as file:
        header = file.read(72)
    return header.startswith(b"SQLite format 3\0") and int.from_bytes(header[68:72]) in (schema.OPEN, schema.CLOSED)


def _has_wal(place: Path) -> bool:
    try:
        return place.with_name(place.name + "-wal").stat().st_size > 0
    except FileNotFoundError:  # an engine that ends deletes it
        return False


def lack_of_wal(path: Path) -> str:
    """What it means that a journal was copied while it was in use, without its -wal file, and what to do.

    It is told, and the journal is used all the same: what the copy has is paid for and worth having.
    """
    return (
        f"The journal {path} was copied while it was in use, without the file {path.name}-wal beside it. Batches "
        "submitted last may be missing in it: they may run upstream, and a rerun would pay for their requests again. "
        f"Copy both files, or copy after the program has ended. `autobatcher status --upstream --journal {path}` lists "
        "what runs."
    )


def connect(place: Path, mode: str) -> sqlite3.Connection:
    """Open an existing SQLite file that a stranger may have made. `mode`: ro, rw, with further URI parameters."""
    connection = sqlite3.connect(f"{place.as_uri()}?mode={mode}", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_ROW_BYTES)
        if sys.version_info >= (3, 12):
            connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
        for setting in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
            connection.execute(f"PRAGMA {setting}")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def as_journal_error(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and the operating system into `JournalError`."""
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # SQLite's messages quote what is in the file
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        advice = _ADVICE.get(error.errno or 0, "") if isinstance(error, OSError) else _advice_on(error, path)
        raise JournalError(f"The journal {path} cannot be used: {reason}.{advice}") from error


def _advice_on(error: Exception, path: Path) -> str:
    is_refused = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CANTOPEN
    return _READ_ONLY_FOLDER if is_refused and path.exists() and not os.access(path.parent, os.W_OK) else ""


_READ_ONLY_FOLDER = (
    " Its folder cannot be written, and SQLite writes beside a file even to read it: copy it to another folder, with "
    "the -wal file beside it, if there is one."
)

_ADVICE = {
    errno.EISDIR: " Give the path of a file in it, such as journal.sqlite3.",
    errno.ENOENT: " Check the path: a program that is given it makes the file, in a directory that exists.",
    errno.ENOTDIR: " Give the path of a file, in a directory that exists.",
}
