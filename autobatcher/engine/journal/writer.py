"""The journal's one thread: what it is told is done in order, and what gathers meanwhile in one transaction.

A thread of its own, and no task, so that nothing that is cancelled, natively or not, loses what it was told.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import anyio

from ...errors import JournalError
from ..event_loop import call_soon, running_loop
from .ownership import Ownership
from .store import Store, told_as_journal_error

logger: logging.Logger = logging.getLogger("autobatcher")

MOST_IN_A_TRANSACTION = 5_000
"""So that who waits for a commit does not wait for everything that was told after it."""

MOST_BACKLOG = 10_000
"""Statements that wait for a file that cannot be written (a full disk, another program's lock), many answers in one of
them at times; after that it is given up for good."""

T = TypeVar("T")

Statement = Callable[[Store], Any]


class Writer:
    """Owns the journal's file from `open` to `close`.

    `tell` and `ask` may be called before `open`, and are done after it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told: queue.SimpleQueue[_Ask[Any] | Statement | None] = queue.SimpleQueue()
        self._failure: JournalError | None = None  # for good
        self._backlog: list[Statement] = []  # told, and not written because the file could not be
        self._thread: threading.Thread | None = None
        self._closed: _Ask[None] | None = None

    async def open(self) -> None:
        """Start. Raises `JournalError`, after which the writer is of no use.

        Cancelled: it goes on in the background, until `close`.
        """
        opened = _Ask(lambda store: None)
        self._thread = threading.Thread(target=self._run, args=(opened,), name="autobatcher journal", daemon=True)
        self._thread.start()
        await opened.answer()

    def tell(self, statement: Statement) -> None:
        """Have `statement` done some time soon. Never raises, never waits; if it fails, later `ask`s say so."""
        self._told.put(statement)

    async def ask(self, statement: Callable[[Store], T]) -> T:
        """Wait until `statement`, and all that was told before it, is committed; what it returned.

        Raises:
            JournalError: if it, or anything before it, failed.

        Cancelled: it is done all the same.
        """
        ask = _Ask(statement)
        self._told.put(ask)
        return await ask.answer()

    async def close(self) -> None:
        """Wait until everything is written and the file is let go. Cancelled: that happens all the same."""
        if self._thread is None or self._closed is not None:
            return
        self._closed = _Ask(lambda store: None)
        self._told.put(None)
        await self._closed.answer()
        self._thread.join()  # which is at its end

    # ---- in the thread ----

    def _run(self, opened: _Ask[None]) -> None:
        try:
            with told_as_journal_error(self._path):
                ownership = Ownership(self._path)
                try:
                    store = Store(self._path)
                except BaseException:
                    ownership.release()
                    raise
        except Exception as error:
            self._failure = error if isinstance(error, JournalError) else JournalError(str(error))
            opened.fail(self._failure)
            self._refuse_all()
            return
        opened.succeed(None)
        try:
            while self._do_what_gathered(store):
                pass
            store.close()
        except sqlite3.Error as error:  # of the last checkpoint: SQLite makes up for it when it opens the file again
            logger.warning("autobatcher: the journal %s was not closed in order: %s", self._path, error)
        finally:
            ownership.release()
            self._say_closed()

    def _say_closed(self) -> None:
        if self._closed is not None:
            self._closed.succeed(None)

    def _do_what_gathered(self, store: Store) -> bool:
        """One transaction; False if it was the last one."""
        told = [self._told.get()]
        while len(told) < MOST_IN_A_TRANSACTION and not self._told.empty():
            told.append(self._told.get())
        statements = [*self._backlog, *(each for each in told if each is not None)]
        failure = self._failure or self._commit(store, statements)
        for each in statements:
            if isinstance(each, _Ask):
                each.succeed(each.result) if failure is None else each.fail(failure)
        self._keep_for_later([] if failure is None else statements, failure)
        return None not in told

    def _commit(self, store: Store, statements: list[Any]) -> JournalError | None:
        try:
            with told_as_journal_error(self._path), store.transaction():
                for each in statements:
                    if isinstance(each, _Ask):
                        each.result = each.statement(store)
                    else:
                        each(store)
        except JournalError as error:
            return error
        except Exception as error:
            logger.exception("autobatcher: a defect in the journal")
            what = f"A defect of autobatcher in its journal ({type(error).__name__}); please report it."
            self._failure = JournalError(what)
        return self._failure

    def _keep_for_later(self, statements: list[Any], failure: JournalError | None) -> None:
        """What was told is tried again with what is told next; who asked has been told that it failed."""
        if failure is not None and not self._backlog:
            logger.error("autobatcher: %s No batches are submitted until it can.", failure)
        self._backlog = [each for each in statements if not isinstance(each, _Ask)]
        if len(self._backlog) > MOST_BACKLOG:
            self._failure, self._backlog = failure, []

    def _refuse_all(self) -> None:
        """It could not be opened: whoever asks is told so, until the end."""
        assert self._failure is not None
        while (each := self._told.get()) is not None:
            if isinstance(each, _Ask):
                each.fail(self._failure)
        self._say_closed()


class _Ask(Generic[T]):
    """A statement, and the task that waits for what it returns."""

    def __init__(self, statement: Callable[[Store], T]) -> None:
        self.statement = statement
        self.result: Any = None
        self._loop = running_loop()
        self._is_done = anyio.Event()
        self._failure: JournalError | None = None

    async def answer(self) -> T:
        await self._is_done.wait()
        if self._failure is not None:
            raise copy_of(self._failure)
        result: T = self.result
        return result

    def succeed(self, result: T) -> None:
        self.result = result
        call_soon(self._loop, self._is_done.set)

    def fail(self, failure: JournalError) -> None:
        self._failure = failure
        call_soon(self._loop, self._is_done.set)


def copy_of(error: JournalError) -> JournalError:
    """The same for another caller: a raised exception collects tracebacks, and must not be shared."""
    return type(error)(error.message)
