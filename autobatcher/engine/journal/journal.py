"""`Journal`: what the engine tells and asks, in the words of batches; it is done in the writer's thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from ...errors import JournalError
from ..request import Answer
from . import at_exit
from .records import BatchRecord, Contents, SessionEnding, StoredAnswer, UnclaimedLine, number_of
from .store import UNFINISHED_SECONDS, Line, NewAnswer, Store
from .writer import JournalWriter, Writer

T = TypeVar("T")

MAX_PENDING_BYTES = 32_000_000
"""Of answers told and not yet written, before who reads them waits."""

SWEEP_SECONDS = 3600.0
"""How often what is older than the retention is looked for."""


class Journal:
    """One journal, from `open` to `close`. Its methods without `await` never wait and never fail.

    Args:
        path: the SQLite file.
        is_hash_only: whether no prompts and no answers are kept.
        retention_seconds: how long answers are kept that nobody takes.
        make_writer: makes what writes the file; None for the thread that does it.
    """

    def __init__(
        self,
        path: Path,
        *,
        is_hash_only: bool = False,
        retention_seconds: float,
        wall_clock: Callable[[], float] = time.time,
        make_writer: Callable[[Path], JournalWriter] | None = None,
    ) -> None:
        self.path: Path = path.resolve()  # by whatever name: one file, one lock
        self.is_hash_only: bool = is_hash_only
        self.wall_clock: Callable[[], float] = wall_clock
        self._retention_seconds = retention_seconds
        self._writer: JournalWriter = (make_writer or Writer)(self.path)
        self._answers: list[NewAnswer] = []
        self._pending_bytes = 0
        self._swept_at = 0.0

    async def open(self) -> Contents:
        """Take possession, forget what is too old, and give what is there.

        Raises:
            JournalInUseError: if another engine has it.
            JournalError: if it cannot be used.
        """
        await self._writer.open()
        contents = await self._writer.ask(self._begin)
        self._writer.tell(self._remove_old_markers)  # only now that it is on disk whose they are
        return contents

    def _begin(self, store: Store) -> Contents:
        now = self._swept_at = self.wall_clock()
        self._forget_taken(store)  # first, since it wants sessions that may be old
        store.forget_old(now=now, retention_seconds=self._retention_seconds)
        process = at_exit.this_process()
        store.begin_session(process, now=now)
        return store.contents(process, now=now)

    def _forget_taken(self, store: Store) -> None:
        """What was taken in processes that have come to their end. What processes took whose marks are still there is
        given again: they were killed, or live, and when they come to their end, what is left of it is forgotten."""
        for process in store.processes_closed_well():
            is_marked = at_exit.marker_of(self.path, process).exists()
            if not is_marked or not (store.has_taken(process) or process == at_exit.this_process()):
                store.forget_taken(process)

    def _remove_old_markers(self, store: Store) -> None:
        """Those of processes that have nothing in here any more."""
        known = {at_exit.marker_of(self.path, process) for process in store.processes_closed_well()}
        for mark in at_exit.markers_of(self.path) - known:
            mark.unlink(missing_ok=True)

    async def close(self, ending: SessionEnding) -> None:
        """Write what is left, and let it go. Cancelled: that is done all the same."""
        self._tell_answers()
        if ending is not None:
            self._writer.tell(partial(self._end, ending))
        await self._writer.close()

    def _end(self, ending: Literal["well", "failed"], store: Store) -> None:
        if ending == "well":
            at_exit.set_marker(self.path)
        store.end_session(ending)

    # ---- a batch ----

    async def intend(self, record: BatchRecord, lines: list[Line]) -> None:
        """Before a batch is uploaded. Raises `JournalError`."""
        await self._ask(lambda store: store.intend(record, lines, is_hash_only=self.is_hash_only))

    async def creating(self, idempotency_key: str, file_id: str | None) -> None:
        """Before it is created. Raises `JournalError`."""
        now = self.wall_clock()
        await self._ask(lambda store: store.update(idempotency_key, now=now, stage="creating", file_id=file_id))

    def update(self, idempotency_key: str, **fields: Any) -> None:
        """What `Store.update` takes."""
        self._tell(Store.update, idempotency_key, now=self.wall_clock(), **fields)

    def end(self, idempotency_key: str) -> None:
        """Nothing more comes of it."""
        self._tell(Store.end, idempotency_key, now=self.wall_clock(), keeps_unanswered=self.is_hash_only)

    def forget(self, idempotency_key: str) -> None:
        """It never was, or is gone."""
        self._tell(Store.forget, idempotency_key)

    # ---- a line ----

    def answer(self, idempotency_key: str, answer: Answer, *, is_taken: bool) -> None:
        """A line has its answer. It is written with those that come with it: see `drain`."""
        number, body = number_of(answer.custom_id), None if self.is_hash_only else answer.body
        self._answers.append((idempotency_key, number, answer.status_code, body, answer.request_id, is_taken))
        self._pending_bytes += len(answer.body)

    def drop(self, idempotency_key: str, custom_id: str) -> None:
        """A line has come to nothing, or goes into another batch."""
        self._tell(Store.drop, idempotency_key, number_of(custom_id))

    def mark_taken(self, line: UnclaimedLine) -> None:
        """A stored answer is given to somebody."""
        self._tell(Store.mark_taken, line.idempotency_key, line.number)

    def give_back(self, idempotency_key: str, custom_id: str) -> None:
        """Whoever an answer was for did not get it."""
        self._tell(Store.give_back, idempotency_key, number_of(custom_id))

    async def answers(self, lines: list[UnclaimedLine]) -> list[StoredAnswer | None]:
        """The stored answers of lines. Raises `JournalError`."""
        places = [(line.idempotency_key, line.number) for line in lines]
        return await self._ask(lambda store: store.answers(places))

    async def drain(self) -> None:
        """Have the answers so far written, and wait while too much is told and not yet written."""
        self._tell_answers()
        if self._pending_bytes > MAX_PENDING_BYTES:
            self._pending_bytes = 0
            with suppress(JournalError):  # which is for those who submit; these here are answered
                await self._ask(lambda store: None)

    def sweep(self) -> tuple[float, float] | None:
        """Have what is too old forgotten, once an hour; then the moments before which answers, and lines of batches
        that were never read to their end, are too old."""
        now = self.wall_clock()
        if now - self._swept_at < SWEEP_SECONDS:
            return None
        self._swept_at = now
        self._tell(Store.forget_old, now=now, retention_seconds=self._retention_seconds)
        return now - self._retention_seconds, now - max(self._retention_seconds, UNFINISHED_SECONDS)

    def _tell_answers(self) -> None:
        answers, self._answers, now = self._answers, [], self.wall_clock()
        if answers:
            self._writer.tell(lambda store: store.answer(answers, now=now))

    async def _ask(self, statement: Callable[[Store], T]) -> T:
        self._tell_answers()
        return await self._writer.ask(statement)

    def _tell(self, statement: Callable[..., None], *arguments: Any, **options: Any) -> None:
        self._tell_answers()

        def do(store: Store) -> None:
            statement(store, *arguments, **options)

        self._writer.tell(do)
