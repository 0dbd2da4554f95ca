"""`Journal`: the engine's interface to a journal, wherever it is kept. The writer's thread does the work."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any, Literal, TypeVar

import anyio

from ...errors import JournalError
from ...money.ledger import Charge
from ..request import Answer
from .charges import NewCharge, Spent
from .contract import JournalStore
from .records import BatchRecord, Contents, SessionEnding, StoredAnswer, UnclaimedLine, number_of
from .responses import JournaledResponses
from .rows import Line, NewAnswer
from .store import UNFINISHED_SECONDS
from .transactions import MAX_BACKLOG_BYTES
from .writer import RETRY_SECONDS, JournalWriter, MakeWriter, Writer

T = TypeVar("T")

MAX_PENDING_BYTES = 32_000_000
"""Maximum size of answers that are not written yet, before `drain` blocks."""

SWEEP_SECONDS = 3600.0
"""How often expired entries are deleted."""


class Journal:
    """One journal, from `open` to `close`. Its synchronous methods never block and never fail.

    Args:
        open_store: opens it, in the thread.
        is_hash_only: whether to store only hashes, and no prompts and answers.
        retention_seconds: how long answers are kept that nobody takes.
        budget: the name under which charges are kept.
        wall_clock: returns Unix seconds.
        make_writer: makes the writer; None for a thread.

    Attributes:
        responses: those that are made in the background.
    """

    def __init__(
        self,
        open_store: Callable[[], JournalStore],
        *,
        is_hash_only: bool = False,
        retention_seconds: float,
        budget: str = "",
        wall_clock: Callable[[], float] = time.time,
        make_writer: MakeWriter | None = None,
    ) -> None:
        self.is_hash_only: bool = is_hash_only
        self.wall_clock: Callable[[], float] = wall_clock
        self.responses: JournaledResponses = JournaledResponses(self._ask, self._tell, wall_clock)
        self._retention_seconds = retention_seconds
        self._budget = budget
        self._writer: JournalWriter = (make_writer or Writer)(open_store)
        self._answers: list[NewAnswer] = []
        self._charges: list[NewCharge] = []
        self._pending_bytes = 0
        self._swept_at = 0.0
        self._steps = 0  # of sweeps

    async def close(self, ending: SessionEnding) -> None:
        """Write everything, and release the journal. Cancelled: it is done all the same."""
        self._tell_answers()
        if ending is not None:
            self._writer.tell(partial(self._end, ending))
        await self._writer.close()

    async def open(self) -> Contents:
        """Take the journal, and return what is found in it.

        Raises:
            JournalInUseError: if another engine uses it, and only one can.
            JournalError: if it cannot be used.
        """
        raise NotImplementedError

    def _end(self, ending: Literal["well", "failed"], store: Any) -> None:
        """The last statement of a session that ends by itself."""
        store.end_session(ending)

    def keep_durations(self, content: bytes) -> None:
        """Keep encoded `Durations` for the next run."""
        self._tell("keep_durations", content)

    def keep_calibration(self, content: bytes) -> None:
        """Keep an encoded `Calibration` for the next run."""
        self._tell("keep_calibration", content)

    async def spent(self, *, since: float) -> Spent:
        """Return what counts against the budget since then, in Unix seconds. Raises `JournalError`."""
        return await self._ask(lambda store: store.spent(since, self._budget))

    # ---- a batch ----

    async def intend(
        self, record: BatchRecord, lines: list[Line], reserved: Decimal | None = None, **more: Any
    ) -> None:
        """Record a batch before its upload, and what it may cost, in USD. Raises `JournalError`."""
        options: dict[str, Any] = {
            "is_hash_only": self.is_hash_only,
            "budget": self._budget,
            "reserved": reserved,
            **more,
        }
        await self._ask(lambda store: store.intend(record, lines, **options))

    async def creating(self, idempotency_key: str, file_id: str | None) -> None:
        """Record a try of the creation before it starts. Raises `JournalError`."""
        now = self.wall_clock()
        await self._ask(lambda store: store.update(idempotency_key, now=now, stage="creating", file_id=file_id))

    def update(self, idempotency_key: str, **fields: Any) -> None:
        """Change fields of a batch; see `Store.update`."""
        self._tell("update", idempotency_key, now=self.wall_clock(), **fields)

    def end(self, idempotency_key: str) -> None:
        """Mark a batch as ended."""
        self._tell("end", idempotency_key, now=self.wall_clock(), keeps_unanswered=self.is_hash_only)

    def forget(self, idempotency_key: str) -> None:
        """Delete a batch that was never created, or is gone."""
        self._tell("forget", idempotency_key)

    # ---- a line ----

    def answer(self, idempotency_key: str, answer: Answer, charge: Charge | None, *, is_taken: bool) -> None:
        """Store the answer to a line, and what it was billed. They are written in groups, together; see `drain`."""
        number, body = number_of(answer.custom_id), None if self.is_hash_only else answer.body
        if charge is not None:
            self._charges.append(NewCharge(idempotency_key, charge, number))
        self._answers.append((idempotency_key, number, answer.status_code, body, answer.request_id, is_taken))
        self._pending_bytes += len(answer.body)

    def charge(self, idempotency_key: str, charge: Charge) -> None:
        """Record what was billed for a line."""
        self._charges.append(NewCharge(idempotency_key, charge))

    def drop(self, idempotency_key: str, custom_id: str) -> None:
        """Delete a line that failed, or goes into another batch."""
        self._tell("drop", idempotency_key, number_of(custom_id))

    def mark_taken(self, line: UnclaimedLine) -> None:
        """Mark a stored answer as delivered."""
        self._tell("mark_taken", line.idempotency_key, line.number)

    def give_back(self, idempotency_key: str, custom_id: str) -> None:
        """Mark a stored answer as not delivered."""
        self._tell("give_back", idempotency_key, number_of(custom_id))

    def delivered(self, lines: list[tuple[str, int]]) -> None:
        """Delete lines, by idempotency key and number, whose answers are safe elsewhere."""
        numbers: dict[str, list[int]] = {}
        for idempotency_key, number in lines:
            numbers.setdefault(idempotency_key, []).append(number)
        for idempotency_key, of_batch in numbers.items():
            self._tell("delivered", idempotency_key, of_batch)

    def booked_call(self, idempotency_key: str) -> None:
        """What a call on another lane may have cost is recorded. Nobody knows whether it was billed."""
        self._tell("booked_call", idempotency_key, now=self.wall_clock())

    def told_uncertain(self, line: UnclaimedLine) -> None:
        """A caller is about to be told that a call on another lane may have been billed. It is told again if the
        process does not end well."""
        self._tell("told_uncertain", line.idempotency_key, now=self.wall_clock())

    async def answers(self, lines: list[UnclaimedLine]) -> list[StoredAnswer | None]:
        """Return the stored answers of lines. Raises `JournalError`."""
        places = [(line.idempotency_key, line.number) for line in lines]
        return await self._ask(lambda store: store.answers(places))

    async def drain(self) -> None:
        """Hand the answers so far to the writer. Wait while too much is unwritten; what is not read yet is safe."""
        self._tell_answers()
        if self._pending_bytes > MAX_PENDING_BYTES:
            self._pending_bytes = 0
            with suppress(JournalError):  # only a submission must fail; these requests are answered
                await self._ask(lambda store: None)
        while self._writer.waiting_bytes > MAX_BACKLOG_BYTES:
            await anyio.sleep(RETRY_SECONDS)
            with suppress(JournalError):
                await self._ask(lambda store: None)

    def sweep(self) -> tuple[float, float] | None:
        """Delete expired entries, at most once an hour. Return the times before which answers, and lines of batches
        that were never completely read, are expired; None if there was no sweep."""
        now = self.wall_clock()
        if now - self._swept_at < SWEEP_SECONDS:
            return None
        self._swept_at = now
        self._sweep()
        return self._expired(now)

    def _expired(self, now: float) -> tuple[float, float]:
        """The times before which answers, and batches that were never completely read, are expired."""
        return now - self._retention_seconds, now - max(self._retention_seconds, UNFINISHED_SECONDS)

    def _sweep(self) -> None:
        self._steps += 1
        self._writer.tell(partial(self._forget_old, self._steps))

    def _forget_old(self, step: int, store: Any) -> None:
        """A little in each transaction, so that no other statement waits for millions of rows.

        A step whose commit failed comes again. It has told the next one by then, which does its work.
        """
        is_newest = step == self._steps
        if is_newest and store.forget_old(now=self.wall_clock(), retention_seconds=self._retention_seconds):
            self._sweep()

    def _tell_answers(self) -> None:
        answers, self._answers, now = self._answers, [], self.wall_clock()
        charges, self._charges = self._charges, []
        if answers or charges:
            size = sum(len(body or b"") for _, _, _, body, _, _ in answers)
            self._writer.tell(lambda store: store.answer(answers, charges, budget=self._budget, now=now), size=size)

    async def _ask(self, statement: Callable[[JournalStore], T]) -> T:
        self._tell_answers()
        return await self._writer.ask(statement)

    def _tell(self, statement: str, *arguments: Any, **options: Any) -> None:
        """Tell the writer to run a statement of `JournalStore`."""
        self._tell_answers()

        def do(store: JournalStore) -> None:
            getattr(store, statement)(*arguments, **options)

        self._writer.tell(do)
