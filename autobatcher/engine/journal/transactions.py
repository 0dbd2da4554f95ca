"""Groups statements into transactions, so that a failing one affects no other. Synchronous."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import JournalError
from .contract import JournalStore
from .failures import CollisionError, UnheardCommitError

logger: logging.Logger = logging.getLogger("autobatcher")

MAX_BACKLOG = 10_000
"""Maximum number of statements that wait for an unwritable journal (a full disk, another program's lock). Each may hold
many answers. Beyond this the journal is given up for good."""

TRIES = 5
"""How often a transaction is run that collides with others. The server ends one of two, and the other goes on."""

Statement = Callable[[Any], Any]
"""Is called with the store."""


class Job:
    """A statement and its result.

    Args:
        is_awaited: whether a task waits for it. If so, it is not retried: the task gets the failure.
        goes_first: whether it must be the first of a transaction, because of what it locks. Others like it may follow.

    Attributes:
        result: what the statement returned, after the commit.
        failure: why it was not committed.
    """

    def __init__(self, statement: Statement, *, is_awaited: bool = False, goes_first: bool = False) -> None:
        self.statement = statement
        self.is_awaited = is_awaited
        self.goes_first = goes_first
        self.result: Any = None
        self.failure: JournalError | None = None


class Transactions:
    """Runs jobs in order, all that are queued in one transaction.

    A statement that fails by itself is left out: no row can hold its value, or it is a bug, so a retry would not help.
    If the journal cannot be written, all jobs wait for the next transaction. If two engines wait for one another, the
    one that the server chooses runs all of its jobs again.
    """

    def __init__(self, store: JournalStore) -> None:
        self._store = store
        self._backlog: list[Job] = []  # not written because the journal could not be written
        self._failure: JournalError | None = None  # permanent
        self._unheard: list[Job] = []  # the first of the backlog, of which nobody knows whether they were committed

    def do(self, jobs: Sequence[Job]) -> None:
        """Run the backlog, then `jobs`, and commit. Sets the `result` or the `failure` of each job."""
        first = next((number for number, job in enumerate(jobs) if job.goes_first), 0)
        if first or (self._backlog and jobs and jobs[0].goes_first):
            self._do_together(jobs[:first])
        self._do_together(jobs[first:])

    def _do_together(self, jobs: Sequence[Job]) -> None:
        together = [*self._backlog, *jobs]
        failure = self._failure or self._commit(together)
        if failure is not None:
            for job in together:
                job.failure = failure
        self._keep_for_later([] if failure is None else together, failure)

    def _commit(self, jobs: list[Job]) -> JournalError | None:
        """Return why nothing could be written; None if everything possible was done."""
        try:
            with self._store.errors_told():
                jobs = self._without_committed(jobs)
                self._run(jobs)
        except JournalError as error:
            if isinstance(error, UnheardCommitError):
                self._unheard = jobs
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

    def _without_committed(self, jobs: list[Job]) -> list[Job]:
        """Leave out those that turn out to have been committed."""
        if not self._unheard:
            return jobs
        was_committed = self._store.was_committed()
        unheard, self._unheard = set(self._unheard), []
        return [job for job in jobs if job not in unheard] if was_committed else jobs

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

    def _keep_for_later(self, jobs: list[Job], failure: JournalError | None) -> None:
        if failure is not None and not self._backlog:
            logger.error("autobatcher: %s No batches are submitted until it can.", failure)
        self._backlog = [job for job in jobs if not job.is_awaited]
        if len(self._backlog) > MAX_BACKLOG:
            self._failure, self._backlog = failure, []
