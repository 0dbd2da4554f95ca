"""Statements on the journal, in transactions: what one of them cannot do spoils nothing but itself. Synchronous."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...errors import JournalError
from .sqlite_file import as_journal_error
from .store import Store

logger: logging.Logger = logging.getLogger("autobatcher")

MAX_BACKLOG = 10_000
"""Statements that wait for a file that cannot be written (a full disk, another program's lock), many answers in one of
them at times; after that it is given up for good."""

Statement = Callable[[Store], Any]


class Job:
    """A statement, and what came of it.

    Args:
        is_awaited: whether somebody waits for it. Then it is not tried again: they are told that it failed.

    Attributes:
        result: what the statement returned, once it is committed.
        failure: why it was not.
    """

    def __init__(self, statement: Statement, *, is_awaited: bool = False) -> None:
        self.statement = statement
        self.is_awaited = is_awaited
        self.result: Any = None
        self.failure: JournalError | None = None


class Transactions:
    """Does jobs in order, those that gather in one transaction.

    A statement that fails by itself is left out: it is a value that SQLite cannot hold, or a defect of ours, and no
    second try would change that. When the file cannot be written, everything waits for the next transaction.
    """

    def __init__(self, store: Store, path: Path) -> None:
        self._store = store
        self._path = path
        self._backlog: list[Job] = []  # told, and not written because the file could not be
        self._failure: JournalError | None = None  # for good

    def do(self, jobs: Sequence[Job]) -> None:
        """Do what was left over, then `jobs`, and commit. Each of them has its `result` or its `failure` then."""
        together = [*self._backlog, *jobs]
        failure = self._failure or self._commit(together)
        if failure is not None:
            for job in together:
                job.failure = failure
        self._keep_for_later([] if failure is None else together, failure)

    def _commit(self, jobs: list[Job]) -> JournalError | None:
        """Why nothing could be written; None if what can be done is done."""
        try:
            with as_journal_error(self._path):
                try:
                    with self._store.transaction():
                        for job in jobs:
                            job.result = job.statement(self._store)
                except Exception as error:
                    if _is_file_failure(error):
                        raise
                    with self._store.transaction():  # each by itself now, to find the one that is to blame
                        for job in jobs:
                            self._do_alone(job)
        except JournalError as error:
            return error
        return None

    def _do_alone(self, job: Job) -> None:
        try:
            with self._store.savepoint():
                job.result = job.statement(self._store)
        except Exception as error:
            if _is_file_failure(error):
                raise
            logger.exception("autobatcher: a statement on the journal failed, and is left out")
            what = f"A statement on the journal {self._path} failed ({type(error).__name__}); please report it."
            job.failure = JournalError(what)

    def _keep_for_later(self, jobs: list[Job], failure: JournalError | None) -> None:
        if failure is not None and not self._backlog:
            logger.error("autobatcher: %s No batches are submitted until it can.", failure)
        self._backlog = [job for job in jobs if not job.is_awaited]
        if len(self._backlog) > MAX_BACKLOG:
            self._failure, self._backlog = failure, []


def _is_file_failure(error: Exception) -> bool:
    """Whether the file, and not one statement, is to blame: a full disk, a lock, a broken file."""
    if isinstance(error, OSError | JournalError):
        return True
    is_general = type(error) in (sqlite3.OperationalError, sqlite3.DatabaseError)
    return is_general and getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR  # which is a mistake in SQL
