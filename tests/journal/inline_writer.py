"""The journal's writer without a thread. Virtual time jumps ahead while a task waits for a thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import anyio

from autobatcher.engine.journal.ownership import Ownership
from autobatcher.engine.journal.sqlite_file import as_journal_error
from autobatcher.engine.journal.store import Store
from autobatcher.engine.journal.transactions import Job, Transactions
from autobatcher.engine.journal.writer import copy_of

T = TypeVar("T")


class InlineWriter:
    """Runs statements at once, with the same transactions as the thread.

    Args:
        commit_seconds: how long a task waits for a commit.
    """

    def __init__(self, path: Path, commit_seconds: float = 0.0) -> None:
        self._path = path
        self._commit_seconds = commit_seconds
        self._store: Store | None = None
        self._ownership: Ownership | None = None
        self._transactions: Transactions | None = None
        self.is_dead = False

    async def open(self) -> None:
        with as_journal_error(self._path):
            self._ownership = Ownership(self._path)
            try:
                self._store = Store(self._path)
            except BaseException:
                self._ownership.release()
                raise
        self._transactions = Transactions(self._store, self._path)

    def tell(self, statement: Callable[[Store], Any]) -> None:
        if not self.is_dead:
            self._do(Job(statement))

    async def ask(self, statement: Callable[[Store], T]) -> T:
        if self.is_dead:
            await anyio.sleep_forever()
        job = Job(statement, is_awaited=True)
        self._do(job)
        if self._commit_seconds:
            await anyio.sleep(self._commit_seconds)
        if job.failure is not None:
            raise copy_of(job.failure)
        result: T = job.result
        return result

    def _do(self, job: Job) -> None:
        assert self._transactions is not None
        self._transactions.do([job])

    async def close(self) -> None:
        self.die()

    def die(self) -> None:
        """Write nothing more and release the file, as if the process were dead."""
        if self.is_dead or self._store is None or self._ownership is None:
            return
        self.is_dead = True
        self._store.close()
        self._ownership.release()
