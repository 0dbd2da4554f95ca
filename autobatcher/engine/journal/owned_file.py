"""A journal's file that this process owns, for the writer."""

from __future__ import annotations

import math
import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path

from ...errors import JournalError
from .ownership import Ownership
from .sqlite_file import as_journal_error
from .store import Store


class OwnedFile(Store):
    """The store of one engine, from its construction to `close`.

    Raises:
        JournalInUseError: if another engine uses the file.
        JournalError: if it cannot be used.
    """

    heartbeat_seconds: float = math.inf

    def __init__(self, path: Path) -> None:
        self.name: str = str(path)
        with as_journal_error(path):
            self._ownership = Ownership(path)
            try:
                super().__init__(path)
            except BaseException:
                self._ownership.release()
                raise

    def errors_told(self) -> AbstractContextManager[None]:
        return as_journal_error(self._path)

    def is_unusable(self, error: Exception) -> bool:
        if isinstance(error, OSError | JournalError):
            return True
        is_general = type(error) in (sqlite3.OperationalError, sqlite3.DatabaseError)
        return is_general and getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR  # a mistake in SQL

    def was_committed(self) -> bool:
        return False  # a file says at once

    def beat(self) -> None:
        """Nobody else can use the file."""

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._ownership.release()
