"""An outage of the journal, however long: a note costs as much as ever, none is lost, and the end needs no restart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import anyio
import pytest

from autobatcher.engine.journal.failures import JournalLostError, UnheardCommitError
from autobatcher.engine.journal.journal import MAX_PENDING_BYTES, Journal
from autobatcher.engine.journal.transactions import MAX_BACKLOG_BYTES, Job, Transactions
from autobatcher.engine.journal.writer import Writer
from autobatcher.engine.request import Answer
from autobatcher.errors import JournalError, JournalUnreachableError
from tests.journal.inline_writer import InlineWriter

MANY = 20_000
"""More than were kept once."""


class OddStore:
    """Notes what was committed.

    Attributes:
        failure: why it cannot be used now.
        loses_answer: whether it commits, and cannot say so.
        executions: how many statements ran.
    """

    name = "store"
    heartbeat_seconds = float("inf")

    def __init__(self) -> None:
        self.committed: list[int] = []
        self.failure: JournalError | None = None
        self.loses_answer = False
        self.executions = 0
        self._written: list[int] = []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._written = []
        yield
        if self.failure is not None:  # as late as that: all was run for nothing
            raise self.failure
        self.committed += self._written
        if self.loses_answer:
            self.failure = JournalUnreachableError("it is away")
            raise UnheardCommitError("it went away")

    def was_committed(self) -> bool:
        if self.failure is not None:
            raise self.failure
        return True

    def errors_told(self) -> Any:
        return nullcontext()

    def is_unusable(self, error: Exception) -> bool:
        return isinstance(error, JournalError)

    def note(self, number: int) -> Job:
        def statement(store: OddStore) -> None:
            store.executions += 1
            store._written.append(number)

        return Job(statement)

    def answer(self, *_: Any, **__: Any) -> None:
        """As a `JournalStore` does, and forget it."""

    def close(self) -> None:
        """As a `JournalStore` does."""


@pytest.mark.proves("faults", "the journal cannot be written for hours, while much is told to it")
def test_what_is_told_in_an_outage_costs_as_much_as_ever_and_is_written_in_order_at_its_end() -> None:
    store = OddStore()
    transactions = Transactions(store)  # type: ignore[arg-type]
    store.failure = JournalUnreachableError("it is away")
    for number in range(MANY):
        transactions.do([store.note(number)])
    assert transactions.has_backlog
    assert store.executions <= 2 * MANY
    store.failure = None
    transactions.do([])
    assert store.committed == list(range(MANY))
    assert store.executions <= 3 * MANY
    assert not transactions.has_backlog


def test_what_was_committed_unheard_is_not_written_again_with_what_came_after_it() -> None:
    store = OddStore()
    transactions = Transactions(store)  # type: ignore[arg-type]
    store.loses_answer = True
    transactions.do([store.note(number) for number in range(100)])
    for number in range(100, 200):
        transactions.do([store.note(number)])
    store.loses_answer, store.failure = False, None
    transactions.do([store.note(200)])
    assert store.committed == list(range(201))


async def test_the_end_of_an_outage_is_noticed_though_nobody_tells_anything() -> None:
    store = OddStore()
    writer = Writer(lambda: store)  # type: ignore[arg-type, return-value]
    await writer.open()
    store.failure = JournalUnreachableError("it is away")
    writer.tell(store.note(1).statement)
    with pytest.raises(JournalUnreachableError):
        await writer.ask(lambda store: None)
    store.failure = None
    while not store.committed:  # noqa: ASYNC110  (a thread writes it)
        await anyio.sleep(0.05)
    await writer.close()


async def test_answers_are_not_read_faster_than_memory_has_room_for_them_in_an_outage() -> None:
    store = OddStore()
    journal = Journal(lambda: store, retention_seconds=1.0, make_writer=InlineWriter)  # type: ignore[arg-type, return-value]
    await journal._writer.open()
    store.failure = JournalUnreachableError("it is away")
    body, read = b"x" * MAX_PENDING_BYTES, 0
    with anyio.move_on_after(100):
        while True:
            journal.answer("batch", Answer(200, body, None, "batch", f"batch-{read}"), None, is_taken=True)
            read += 1
            await journal.drain()
    assert MAX_BACKLOG_BYTES < read * len(body) < MAX_BACKLOG_BYTES + 2 * len(body)
    store.failure = None
    with anyio.fail_after(10):
        await journal.drain()


def test_a_file_that_is_gone_keeps_no_answer_from_its_caller() -> None:
    """It will not come back, and who waits for it would wait for ever."""
    store = OddStore()
    transactions = Transactions(store)  # type: ignore[arg-type]
    store.failure = JournalLostError("it was deleted")
    transactions.do([Job(lambda store: None, size=MAX_BACKLOG_BYTES)])
    assert transactions.has_backlog
    transactions.do([Job(lambda store: None, size=1), asked := Job(lambda store: None, is_awaited=True)])
    assert asked.failure is store.failure
    assert transactions.waiting_bytes == 0
    store.failure = None
    transactions.do([after := Job(lambda store: None, is_awaited=True)])  # or it would have an end without answers
    assert after.failure is not None
