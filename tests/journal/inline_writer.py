"""The journal's writer without a thread. Virtual time jumps ahead while a task waits for a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import anyio

from autobatcher.engine.journal.contract import JournalStore
from autobatcher.engine.journal.transactions import Job, Transactions
from autobatcher.engine.journal.writer import copy_of

T = TypeVar("T")


class InlineWriter:
    """Runs statements at once, with the same transactions as the thread.

    Args:
        commit_seconds: how long a task waits for a commit.
    """

    def __init__(self, open_store: Callable[[], JournalStore], commit_seconds: float = 0.0) -> None:
        self._open_store = open_store
        self.commit_seconds = commit_seconds
        self._store: JournalStore | None = None
        self._transactions: Transactions | None = None
        self.is_dead = False

    async def open(self) -> None:
        self._store = self._open_store()
        self._transactions = Transactions(self._store)

    @property
    def waiting_bytes(self) -> int:
        return 0 if self._transactions is None else self._transactions.waiting_bytes

    def tell(self, statement: Callable[[Any], Any], *, size: int = 0) -> None:
        if not self.is_dead:
            self._do(Job(statement, size=size))

    async def ask(self, statement: Callable[[Any], T], *, goes_first: bool = False) -> T:
        if self.is_dead:
            await anyio.sleep_forever()
        job = Job(statement, is_awaited=True, goes_first=goes_first)
        self._do(job)
        if self.commit_seconds:
            await anyio.sleep(self.commit_seconds)
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
        if self.is_dead or self._store is None:
            return
        self.is_dead = True
        self._store.close()
