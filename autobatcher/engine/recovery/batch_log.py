"""What a batch tells the journal of itself and its lines. It waits only for what must be on disk before a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import anyio
import msgspec

from ...errors import BatchEndedError, BatchError
from ...upstream.batch_state import BatchState
from .. import outcomes
from ..journal import BatchRecord, UnclaimedLine
from ..journal.identity import digest_of
from ..journal.records import number_of
from ..request import Answer, Request
from .unclaimed import UnclaimedLines

if TYPE_CHECKING:
    from ..journal.journal import Journal  # at run time only where one is used: there are Pythons without sqlite3


class _RecordState(Enum):
    """Who writes a batch's record."""

    UNWRITTEN = auto()
    """Nobody: there is none yet."""

    OURS = auto()
    """This life of the batch."""

    RELEASED = auto()
    """Not this life: the record is ended or forgotten, or another life has it."""


class BatchLog:
    """That of a batch in no journal: nothing is told to nobody. See `JournalBatchLog`."""

    is_journaled: bool = False
    keeps_answers: bool = False
    wants_lines: bool = False
    awaits_callers: bool = False
    has_unclaimed_lines: bool = False

    @property
    def handed_over(self) -> anyio.Event:
        """Set once another life of the batch has its record."""
        return anyio.Event()

    async def intend(self, lines: list[tuple[str, Request]]) -> None:
        """Before the upload. Raises `JournalError`: then it must not be made."""

    async def creating(self, file_id: str) -> None:
        """Before each try of the creation. Raises `JournalError`: then it must not be made."""

    def state_changed(self, state: BatchState) -> None:
        """The upstream said this of the batch, which exists."""

    def cancelling(self) -> None:
        """We are about to cancel the batch: lines that it has not answered are not refused because of that."""

    def settled(self, request: Request, outcome: Answer | BatchError) -> None:
        """A caller is about to get this outcome."""

    def unclaimed_result(self, custom_id: str, outcome: Answer | BatchError) -> None:
        """A line came that no caller waits for."""

    def caller_left(self, request: Request) -> None:
        """A caller left; its line stays."""

    def caller_attached(self, custom_id: str) -> None:
        """A caller waits for a line that was unclaimed."""

    def line_dropped(self, custom_id: str) -> None:
        """A line has come to nothing, or its request goes into another batch."""

    def drop_unanswered(self) -> None:
        """No unclaimed line of the batch can be had any more: it has been read, or is given up."""

    def end(self) -> None:
        """Nothing of the batch is left to be done."""

    def forget(self) -> None:
        """The batch never was."""

    async def drain(self) -> None:
        """Wait while the journal has more to write than is good."""


NULL_BATCH_LOG = BatchLog()


class JournalBatchLog(BatchLog):
    """That of a batch in a journal.

    Args:
        unclaimed: those of its lines that nobody waits for and that have no answer, by custom_id.
        give_back: takes the answer of a settled request that did not reach its caller.
        is_awaited: whether these lines are of an earlier process, so that their callers may yet come.

    Attributes:
        wants_lines: whether there are lines to be read that nobody waits for.
        awaits_callers: whether there are lines whose callers may yet come: those of an earlier process.
    """

    is_journaled = True

    def __init__(
        self,
        journal: Journal,
        unclaimed_lines: UnclaimedLines,
        record: BatchRecord,
        unclaimed: Iterable[UnclaimedLine],
        give_back: Callable[[Request], None],
        *,
        is_awaited: bool = False,
    ) -> None:
        self.record: BatchRecord = record
        self._handed_over = anyio.Event()
        self.keeps_answers: bool = not journal.is_hash_only
        self._journal = journal
        self._unclaimed_lines = unclaimed_lines
        self._unclaimed = {line.custom_id: line for line in unclaimed}
        self._awaited = set(self._unclaimed) if is_awaited else set()
        self._give_back = give_back
        self._record_state = _RecordState.OURS if record.created_at else _RecordState.UNWRITTEN

    @property
    def handed_over(self) -> anyio.Event:
        return self._handed_over

    @property
    def wants_lines(self) -> bool:  # type: ignore[override]  # a constant there
        return bool(self._unclaimed) and self.keeps_answers

    @property
    def awaits_callers(self) -> bool:  # type: ignore[override]  # a constant there
        return bool(self._awaited)

    @property
    def has_unclaimed_lines(self) -> bool:  # type: ignore[override]  # a constant there
        """Whether there are lines that may yet have an answer and that nobody waits for."""
        return bool(self._unclaimed)

    def hand_over(self) -> list[UnclaimedLine]:
        """Give the record to another life of the batch, which may have begun by now: this one never writes it again.

        Returns the lines that may yet have an answer and that nobody waits for. They are the other life's.
        """
        lines = list(self._unclaimed.values())
        self._unclaimed.clear()
        self._record_state = _RecordState.RELEASED
        self._handed_over.set()
        return lines

    async def intend(self, lines: list[tuple[str, Request]]) -> None:
        now = self._journal.wall_clock()
        models = sorted({request.model for _, request in lines})
        self._record_state = _RecordState.OURS
        self._change(request_count=len(lines), models=models, created_at=now, changed_at=now)
        await self._journal.intend(self.record, [(number_of(id_), r.endpoint, r.body) for id_, r in lines])

    async def creating(self, file_id: str) -> None:
        self._change(stage="creating", file_id=file_id, changed_at=self._journal.wall_clock())
        await self._journal.creating(self.record.idempotency_key, file_id)

    def state_changed(self, state: BatchState) -> None:
        counts = {} if state.counts is None else {"completed": state.counts.completed, "failed": state.counts.failed}
        self._write(stage="created", batch_id=state.id, status=state.status, **counts)

    def cancelling(self) -> None:
        self._write(status="cancelling")

    def settled(self, request: Request, outcome: Answer | BatchError) -> None:
        if isinstance(outcome, Answer) and not outcomes.is_retryable(outcome):
            self._journal.answer(self.record.idempotency_key, outcome, is_taken=True)
            request.on_undelivered = self._give_back
        elif isinstance(outcome, Answer | BatchEndedError):
            self.line_dropped(request.custom_id)
        else:
            self.caller_left(request)

    def unclaimed_result(self, custom_id: str, outcome: Answer | BatchError) -> None:
        if custom_id not in self._unclaimed:
            return
        self._awaited.discard(custom_id)
        if not isinstance(outcome, Answer) or outcomes.is_retryable(outcome):
            self.line_dropped(custom_id)
            return
        self._journal.answer(self.record.idempotency_key, outcome, is_taken=False)
        line = self._unclaimed.pop(custom_id)
        line.is_stored, line.unclaimed_since = True, self._journal.wall_clock()

    def caller_left(self, request: Request) -> None:
        if self._record_state is _RecordState.UNWRITTEN:
            return
        line = UnclaimedLine(self.record.idempotency_key, number_of(request.custom_id), self._journal.wall_clock())
        self._unclaimed[request.custom_id] = line
        self._unclaimed_lines.add(digest_of(request.endpoint, request.body, self.record.account), line)

    def caller_attached(self, custom_id: str) -> None:
        self._unclaimed.pop(custom_id, None)
        self._awaited.discard(custom_id)

    def line_dropped(self, custom_id: str) -> None:
        line = self._unclaimed.pop(custom_id, None)
        if line is not None:
            line.is_gone = True
        self._journal.drop(self.record.idempotency_key, custom_id)

    def drop_unanswered(self) -> None:
        for line in self._unclaimed.values():
            line.is_gone = True
        self._unclaimed.clear()

    def end(self) -> None:
        if self._release_record():
            if self.keeps_answers:  # if not, results are read again, as long as the upstream has them
                self.drop_unanswered()
            self._change(stage="ended")
            self._journal.end(self.record.idempotency_key)

    def forget(self) -> None:
        if self._release_record():
            self.drop_unanswered()
            self._journal.forget(self.record.idempotency_key)

    async def drain(self) -> None:
        await self._journal.drain()

    def _write(self, **fields: Any) -> None:
        if self._record_state is _RecordState.OURS:
            self._change(**fields)
            self._journal.update(self.record.idempotency_key, **fields)

    def _release_record(self) -> bool:
        """Write the record for the last time; False if it is not ours to write."""
        was_ours, self._record_state = self._record_state is _RecordState.OURS, _RecordState.RELEASED
        return was_ours

    def _change(self, **fields: object) -> None:
        self.record = msgspec.structs.replace(self.record, **fields)
