"""Statements whose commit nobody heard of run once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from autobatcher.engine.journal.failures import UnheardCommitError
from autobatcher.engine.journal.transactions import Job, Transactions
from autobatcher.errors import JournalUnreachableError


class _Store:
    """Notes what was committed.

    Attributes:
        is_there: whether it can be reached.
        loses_answer: whether it commits, and cannot say so.
    """

    name = "store"

    def __init__(self) -> None:
        self.committed: list[str] = []
        self.is_there = True
        self.loses_answer = False
        self._written: list[str] = []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if not self.is_there:
            raise JournalUnreachableError("it is away")
        self._written = []
        yield
        self.committed += self._written
        if self.loses_answer:
            self.is_there = False
            raise UnheardCommitError("it went away")

    def write(self, text: str) -> None:
        self._written.append(text)

    def was_committed(self) -> bool:
        if not self.is_there:
            raise JournalUnreachableError("it is away")
        return self._written == self.committed[-len(self._written) :]

    def errors_told(self) -> Any:
        return nullcontext()

    def is_unusable(self, error: Exception) -> bool:
        return isinstance(error, JournalUnreachableError)


def _told(text: str) -> Job:
    return Job(lambda store: store.write(text))


def test_what_is_told_while_nobody_knows_of_a_commit_is_written_after_it() -> None:
    store = _Store()
    doing = Transactions(store)  # type: ignore[arg-type]
    store.loses_answer = True
    doing.do([_told("first")])
    doing.do([_told("meanwhile")])  # cannot be asked yet
    store.is_there, store.loses_answer = True, False
    doing.do([_told("last")])
    assert store.committed == ["first", "meanwhile", "last"]
