"""Groups statements into transactions, so that a failing one affects no other. Synchronous."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from ...errors import JournalError
from .contract import JournalStore
from .failures import CollisionError, JournalLostError, UnheardCommitError

logger: logging.Logger = logging.getLogger("autobatcher")

MAX_TRANSACTION_SIZE = 5_000
"""Maximum number of statements, so that a task that waits for a commit does not wait for everything queued after it."""

MAX_BACKLOG_BYTES = 256_000_000
"""Maximum size of answers that wait for an unwritable journal (a full disk, a database that is away). Beyond this, no
more are read from the upstream."""

TRIES = 5
"""How often a transaction is run that collides with others. The server ends one of two, and the other goes on."""

_GROWTH = 10  # of transactions, after one that failed

Statement = Callable[[Any], Any]
"""Is called with the store."""


class Job:
    """A statement and its result.

    Args:
        is_awaited: whether a task waits for it. If so, it is not retried: the task gets the failure.
        goes_first: whether it must be the first of a transaction, because of what it locks. Others like it may follow.
        size: of the answers in it, in bytes.

    Attributes:
        result: what the statement returned, after the commit.
        failure: why it was not committed, and never will be.
    """

    def __init__(
        self, statement: Statement, *, is_awaited: bool = False, goes_first: bool = False, size: int = 0
    ) -> None:
        self.statement = statement
        self.size = size
        self.is_awaited = is_awaited
        self.goes_first = goes_first
        self.result: Any = None
        self.failure: JournalError | None = None


class Transactions:
    """Runs jobs in order, as many as possible in one transaction.

    A statement that fails by itself is left out: no row can hold its value, or it is a bug, so a retry would not help.
    If the journal cannot be written, all jobs wait. The next try begins with one of them: it costs one statement,
    however many wait. If two engines wait for one another, the one that the server chooses runs all of its jobs again.

    Attributes:
        waiting_bytes: the size of the jobs that wait.
    """

    def __init__(self, store: JournalStore) -> None:
        self.waiting_bytes: int = 0
        self._store = store
        self._waiting: deque[Job] = deque()
        self._most = MAX_TRANSACTION_SIZE
        self._unheard: set[Job] = set()  # the first that wait, of which nobody knows whether they were committed
        self._lost: JournalLostError | None = None
        self._is_told = False  # that it cannot be written

    @property
    def has_backlog(self) -> bool:
        """Whether jobs wait because the journal could not be written."""
        return bool(self._waiting)

    def do(self, jobs: Sequence[Job]) -> None:
        """Run what waits, then `jobs`. Sets the `result` or the `failure` of each job that does not go on waiting."""
        self._waiting.extend(jobs)
        self.waiting_bytes += sum(job.size for job in jobs)
        has_work = self.has_backlog
        failure = self._lost or self._write()
        if failure is not None:
            if not self._is_told:
                logger.error("autobatcher: %s No batches are submitted until it can.", failure)
            self._is_told = True
            self._fail_awaited(jobs[-len(self._waiting) :], failure)
            self._give_up_if_lost(failure)
        elif self._is_told and has_work:
            self._is_told = False
            logger.warning("autobatcher: the journal %s can be used again", self._store.name)

    def _write(self) -> JournalError | None:
        """Commit all that waits, in order. Returns why that stopped."""
        while self._waiting:
            failure = self._forget_committed() or self._commit(some := self._next())
            if failure is not None:
                self._most = 1
                return failure
            self._forget(len(some))
            self._most = min(_GROWTH * self._most, MAX_TRANSACTION_SIZE)
        return None

    def _next(self) -> list[Job]:
        """The jobs of the next transaction."""
        some = list(islice(self._waiting, self._most))
        if not some[0].goes_first:
            return some[: next((number for number, job in enumerate(some) if job.goes_first), len(some))]
        return some

    def _forget(self, count: int) -> None:
        for _ in range(count):
            self.waiting_bytes -= self._waiting.popleft().size

    def _commit(self, jobs: list[Job]) -> JournalError | None:
        """Return why nothing could be written; None if everything possible was done."""
        try:
            with self._store.errors_told():
                self._run(jobs)
        except JournalError as error:
            if isinstance(error, UnheardCommitError):
                self._unheard = set(jobs)
            return error
        return None

    def _run(self, jobs: list[Job]) -> None:
        for tries_left in reversed(range(TRIES)):
            try:
                self._run_once(jobs)
                return
            except CollisionError:
                if tries_left == 0:
                    raise

    def _run_once(self, jobs: list[Job]) -> None:
        try:
            with self._store.transaction():
                for job in jobs:
                    job.result = job.statement(self._store)
        except Exception as error:
            if self._store.is_unusable(error):
                raise
            with self._store.transaction():  # one by one, to find the one that fails
                for job in jobs:
                    self._do_alone(job)

    def _forget_committed(self) -> JournalError | None:
        """Forget the jobs that turn out to have been committed. Returns why nobody knows."""
        if not self._unheard:
            return None
        try:
            with self._store.errors_told():
                was_committed = self._store.was_committed()
        except JournalError as error:
            return error
        while was_committed and self._waiting and self._waiting[0] in self._unheard:
            self._forget(1)
        self._unheard.clear()
        return None

    def _do_alone(self, job: Job) -> None:
        try:
            with self._store.savepoint():
                job.result = job.statement(self._store)
        except Exception as error:
            if self._store.is_unusable(error):
                raise
            if isinstance(error, JournalError):  # it says itself what is wrong
                job.failure = error
                return
            logger.exception("autobatcher: a journal statement failed, and is left out; please report it")
            what = f"A statement on the journal {self._store.name} failed ({type(error).__name__}); please report it."
            job.failure = JournalError(what)

    def _fail_awaited(self, jobs: Sequence[Job], failure: JournalError) -> None:
        """Fail those of these jobs that a task waits for. They are the last that wait here."""
        for _ in jobs:
            self.waiting_bytes -= self._waiting.pop().size
        for job in jobs:
            if job.is_awaited:
                job.failure = failure
            else:
                self._waiting.append(job)
                self.waiting_bytes += job.size

    def _give_up_if_lost(self, failure: JournalError) -> None:
        """Forget what waits for a file that is gone, once that is much: it would keep answers from their callers."""
        if isinstance(failure, JournalLostError) and (self._lost or self.waiting_bytes > MAX_BACKLOG_BYTES):
            self._lost = failure
            self._forget(len(self._waiting))
