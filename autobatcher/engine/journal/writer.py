"""The journal's only writing thread. It runs statements in order, all that are queued in one transaction.

It is a thread and not a task, so that no cancellation, native or not, can lose a statement.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import anyio

from ...errors import JournalError
from ..event_loop import call_soon, running_loop
from .contract import JournalStore
from .transactions import MAX_TRANSACTION_SIZE, Job, Statement, Transactions

logger: logging.Logger = logging.getLogger("autobatcher")

RETRY_SECONDS = 1.0
"""How often it is tried to write what waits for an unwritable journal."""

T = TypeVar("T")


MakeWriter = Callable[[Callable[[], JournalStore]], "JournalWriter"]
"""Makes a writer from the function that opens the journal."""


class JournalWriter(Protocol):
    """Runs statements on a journal in order; see `Writer`."""

    @property
    def waiting_bytes(self) -> int: ...

    async def open(self) -> None: ...

    def tell(self, statement: Statement, *, size: int = 0) -> None: ...

    async def ask(self, statement: Callable[[Any], T], *, goes_first: bool = False) -> T: ...

    async def close(self) -> None: ...


class Writer:
    """Owns a journal from `open` to `close`.

    `tell` and `ask` may be called before `open`. Their statements run after it.

    Args:
        open_store: opens the journal, in the thread.
    """

    def __init__(self, open_store: Callable[[], JournalStore]) -> None:
        self._open_store = open_store
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._failure: JournalError | None = None  # to open it
        self._thread: threading.Thread | None = None
        self._closed: _Ask[None] | None = None
        self._transactions: Transactions | None = None

    @property
    def waiting_bytes(self) -> int:
        """The size of what could not be written yet."""
        return 0 if self._transactions is None else self._transactions.waiting_bytes

    async def open(self) -> None:
        """Start the thread and open the journal.

        Raises:
            JournalError: if it cannot be used. Then only `close` may be called.

        Cancelled: opening continues in the background, until `close`.
        """
        opened = _Ask(lambda store: None)
        self._thread = threading.Thread(target=self._run, args=(opened,), name="autobatcher journal", daemon=True)
        self._thread.start()
        await opened.answer()

    def tell(self, statement: Statement, *, size: int = 0) -> None:
        """Run `statement` soon. Never blocks, never raises. If the journal cannot be written, it is retried, and `ask`
        reports it.

        Args:
            size: of the answers in it, in bytes.
        """
        self._queue.put(Job(statement, size=size))

    async def ask(self, statement: Callable[[Any], T], *, goes_first: bool = False) -> T:
        """Wait until `statement` and all before it are committed, and return its result.

        Args:
            goes_first: see `Job`.

        Raises:
            JournalError: if it failed, or the journal cannot be written.

        Cancelled: the statement runs all the same.
        """
        ask = _Ask(statement, goes_first=goes_first)
        self._queue.put(ask)
        return await ask.answer()

    async def close(self) -> None:
        """Wait until everything is written and the journal is closed. Cancelled: that happens all the same."""
        if self._thread is None or self._closed is not None:
            return
        self._closed = _Ask(lambda store: None)
        self._queue.put(None)
        await self._closed.answer()
        self._thread.join()  # returns at once

    # ---- in the thread ----

    def _run(self, opened: _Ask[None]) -> None:
        try:
            store = self._open_store()
        except Exception as error:
            self._failure = error if isinstance(error, JournalError) else JournalError(str(error))
            opened.failure = self._failure
            opened.done()
            self._refuse_all()
            return
        opened.done()
        transactions = self._transactions = Transactions(store)
        try:
            while self._commit_next(store, transactions):
                pass
            with store.errors_told():
                store.close()
        except JournalError as error:  # in the last checkpoint; the next opening repeats it
            logger.warning("autobatcher: the journal %s was not closed cleanly: %s", store.name, error)
        finally:
            self._signal_closed()

    def _signal_closed(self) -> None:
        if self._closed is not None:
            self._closed.done()

    def _commit_next(self, store: JournalStore, transactions: Transactions) -> bool:
        """Run one transaction; False if it was the last one."""
        seconds = min(store.heartbeat_seconds, RETRY_SECONDS if transactions.has_backlog else math.inf)
        try:
            queued = [self._queue.get(timeout=_finite(seconds))]
        except queue.Empty:
            if transactions.has_backlog:
                transactions.do([])
            else:
                store.beat()
            return True
        while len(queued) < MAX_TRANSACTION_SIZE and not self._queue.empty():
            queued.append(self._queue.get())
        jobs = [each for each in queued if each is not None]
        transactions.do(jobs)
        for job in jobs:
            if isinstance(job, _Ask):
                job.done()
        return None not in queued

    def _refuse_all(self) -> None:
        """The journal could not be opened: fail each `ask` until `close`."""
        assert self._failure is not None
        while (each := self._queue.get()) is not None:
            if isinstance(each, _Ask):
                each.failure = self._failure
                each.done()
        self._signal_closed()


def _finite(seconds: float) -> float | None:
    return None if seconds == math.inf else seconds


class _Ask(Job, Generic[T]):
    """A statement, and the task that waits for its result."""

    def __init__(self, statement: Callable[[Any], T], *, goes_first: bool = False) -> None:
        super().__init__(statement, is_awaited=True, goes_first=goes_first)
        self._loop = running_loop()
        self._is_done = anyio.Event()

    async def answer(self) -> T:
        """Wait for the result. Raises `JournalError`."""
        await self._is_done.wait()
        if self.failure is not None:
            raise copy_of(self.failure)
        result: T = self.result
        return result

    def done(self) -> None:
        """Wake the task, from any thread."""
        call_soon(self._loop, self._is_done.set)


def copy_of(error: JournalError) -> JournalError:
    """Copy an error for another caller: a raised exception collects tracebacks and must not be shared."""
    return type(error)(error.message)
