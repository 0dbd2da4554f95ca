"""`Journal`: what the engine tells and asks, in the words of batches; it is done in the writer's thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import JournalError
from ..request import Answer
from . import at_exit
from .records import BatchRecord, Contents, FreeLine, StoredAnswer, number_of
from .store import Line, Store
from .writer import Writer

MOST_PENDING_BYTES = 32_000_000
"""Of answers told and not yet written, before who reads them waits."""

SWEEP_SECONDS = 3600.0
"""How often what is older than the retention is looked for."""

CLOSE_SECONDS = 10.0
"""How long the last writing may take: it is a matter of milliseconds, but disks are slow at times."""


class Journal:
    """One journal, from `open` to `close`. Its methods without `await` never wait and never fail.

    Args:
        path: the SQLite file.
        is_hash_only: whether no prompts and no answers are kept.
        retention_seconds: how long answers are kept that nobody takes.
    """

    def __init__(
        self,
        path: Path,
        *,
        is_hash_only: bool = False,
        retention_seconds: float,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.path: Path = path.absolute()
        self.is_hash_only: bool = is_hash_only
        self.wall_clock: Callable[[], float] = wall_clock
        self._retention_seconds = retention_seconds
        self._writer = Writer(self.path)
        self._pending_bytes = 0
        self._swept_at = 0.0

    async def open(self) -> Contents:
        """Take possession, forget what is too old, and give what is there.

        Raises:
            JournalInUseError: if another engine has it.
            JournalError: if it cannot be used.
        """
        await self._writer.open()
        return await self._writer.ask(self._begin)

    def _begin(self, store: Store) -> Contents:
        now = self._swept_at = self.wall_clock()
        store.forget_old(now=now, retention_seconds=self._retention_seconds)
        process = at_exit.this_process()
        store.begin_session(process, now=now)
        return store.contents(process)

    async def close(self, *, well: bool) -> None:
        """Write what is left, and let it go. Cancelled: that is done all the same.

        Args:
            well: whether all went well, so that what was given to callers need not be kept for a rerun, provided that
                the process ends well, too.
        """
        if well:
            self._writer.tell(Store.close_well)
            at_exit.closed_well(self.path)
        await self._writer.close()

    # ---- a batch ----

    async def intend(self, record: BatchRecord, lines: list[Line]) -> None:
        """Before a batch is uploaded. Raises `JournalError`."""
        self._sweep()
        await self._writer.ask(lambda store: store.intend(record, lines, is_hash_only=self.is_hash_only))

    async def creating(self, stamp: str, file_id: str | None) -> None:
        """Before it is created. Raises `JournalError`."""
        now = self.wall_clock()
        await self._writer.ask(lambda store: store.update(stamp, now=now, stage="creating", file_id=file_id))

    def update(self, stamp: str, **fields: Any) -> None:
        """What `Store.update` takes."""
        self._tell(Store.update, stamp, now=self.wall_clock(), **fields)

    def end(self, stamp: str) -> None:
        """Nothing more comes of it."""
        self._tell(Store.end, stamp, now=self.wall_clock(), keeps_unanswered=self.is_hash_only)

    def forget(self, stamp: str) -> None:
        """It never was, or is gone."""
        self._tell(Store.forget, stamp)

    # ---- a line ----

    def answer(self, stamp: str, answer: Answer, *, is_taken: bool) -> None:
        """A line has its answer. See `room`."""
        number = number_of(answer.custom_id)
        found = StoredAnswer(stamp, number, answer.batch_id, answer.status_code, answer.body, answer.request_id)
        self._pending_bytes += len(answer.body)
        now, is_hash_only = self.wall_clock(), self.is_hash_only
        self._tell(Store.answer, found, is_taken=is_taken, now=now, is_hash_only=is_hash_only)

    def drop(self, stamp: str, custom_id: str) -> None:
        """A line has come to nothing, or goes into another batch."""
        self._tell(Store.drop, stamp, number_of(custom_id))

    def take(self, line: FreeLine) -> None:
        """A stored answer is given to somebody."""
        self._tell(Store.take, line.stamp, line.number)

    def give_back(self, stamp: str, custom_id: str) -> None:
        """Whoever an answer was for did not get it."""
        self._tell(Store.give_back, stamp, number_of(custom_id))

    async def answers(self, lines: list[FreeLine]) -> list[StoredAnswer | None]:
        """The stored answers of lines. Raises `JournalError`."""
        places = [(line.stamp, line.number) for line in lines]
        return await self._writer.ask(lambda store: store.answers(places))

    async def room(self) -> None:
        """Wait while too much is told and not yet written."""
        if self._pending_bytes > MOST_PENDING_BYTES:
            self._pending_bytes = 0
            with suppress(JournalError):  # which is for those who submit; these here are answered
                await self._writer.ask(lambda store: None)

    def _sweep(self) -> None:
        now = self.wall_clock()
        if now - self._swept_at > SWEEP_SECONDS:
            self._swept_at = now
            self._tell(Store.forget_old, now=now, retention_seconds=self._retention_seconds)

    def _tell(self, statement: Callable[..., None], *arguments: Any, **options: Any) -> None:
        def do(store: Store) -> None:
            statement(store, *arguments, **options)

        self._writer.tell(do)
