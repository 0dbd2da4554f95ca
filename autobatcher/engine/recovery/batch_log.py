"""What a batch records in the journal about itself and its lines. Waits only where a step requires it on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import msgspec

from ...errors import BatchEndedError, BatchError
from ...money.ledger import Charge
from ...upstream.batch_state import BatchState
from .. import outcomes
from ..journal import BatchRecord, UnclaimedLine
from ..journal.identity import digest_of
from ..journal.records import number_of
from ..request import Answer, Request
from ..reserved import reserved_for
from .unclaimed import UnclaimedLines

if TYPE_CHECKING:
    from ..journal.journal import Journal  # imported at run time only if used: some Pythons lack sqlite3


class _RecordState(Enum):
    """Who may write a batch's record."""

    UNWRITTEN = auto()
    """Nobody: it does not exist yet."""

    OURS = auto()
    """This `Batch`."""

    RELEASED = auto()
    """Not this `Batch`: the record is ended, forgotten, or handed over to another one."""


class BatchLog:
    """Null object used when no journal is configured. See `JournalBatchLog`."""

    is_journaled: bool = False
    keeps_answers: bool = False
    wants_lines: bool = False
    awaits_callers: bool = False
    has_unclaimed_lines: bool = False
    is_shared: bool = False

    @property
    def handed_over(self) -> anyio.Event:
        """Set once another `Batch` owns the record."""
        return anyio.Event()

    async def ready(self) -> None:
        """Wait until it is known which callers left while the process was paused."""

    async def awaits_others(self) -> bool:
        """Whether callers of another engine wait for lines."""
        return False

    async def intend(self, lines: list[tuple[str, Request]]) -> None:
        """Record the intent to upload. If this raises `JournalError` or `NoRoomError`, do not upload."""

    async def reserve_creation(self, most: int) -> float:
        """Reserve the earliest time at which all engines of the journal together create no more than `most` batches an
        hour. Return how long it is until then, in seconds. Raises `JournalError`."""
        return 0.0

    async def creating(self, file_id: str) -> None:
        """Record a try of the creation. If this raises `JournalError`, do not create."""

    def state_changed(self, state: BatchState) -> None:
        """Record the state of the created batch."""

    def cancelling(self) -> None:
        """Record that we cancel the batch. Lines without an answer were not refused then."""

    def settled(self, request: Request, outcome: Answer | BatchError, charge: Charge | None) -> None:
        """A request is about to get this outcome.

        Args:
            charge: what is booked for it; None if nothing is, or it was recorded before.
        """

    def awaits_line(self, custom_id: str) -> bool:
        """Whether the answer of a line is kept that no request waits for."""
        return False

    def unclaimed_result(self, custom_id: str, outcome: Answer | BatchError, charge: Charge | None) -> None:
        """A line was read that no request waits for, and that is awaited."""

    def charged(self, charge: Charge) -> None:
        """Something was booked for a line whose answer nobody gets."""

    def caller_left(self, request: Request) -> None:
        """A caller left. Its line becomes unclaimed."""

    def caller_attached(self, custom_id: str) -> None:
        """A request waits for a line that was unclaimed."""

    def line_dropped(self, custom_id: str) -> None:
        """A line failed, or its request goes into another batch."""

    def unclaimed_failed(self, error_of: Callable[[str], BatchEndedError]) -> None:
        """The batch has ended without the unclaimed lines, and who waits for one elsewhere gets this error, made of its
        custom_id: it is not sent again."""

    def drop_unanswered(self) -> None:
        """Drop the unclaimed lines: they cannot be answered any more."""

    def hand_over(self) -> list[UnclaimedLine]:
        """Release the record to another `Batch`, or another engine."""
        return []

    async def until_taken_up(self) -> None:
        """The batch is left as it is: wait until another `Batch` may go on with it."""

    def end(self) -> None:
        """Nothing is left to do for the batch."""

    def forget(self) -> None:
        """The batch was never created, or is gone with its answers."""

    async def drain(self) -> None:
        """Wait while the journal has too much to write."""


NULL_BATCH_LOG = BatchLog()


class JournalBatchLog(BatchLog):
    """The log of a batch in a journal.

    Args:
        unclaimed: the batch's lines that have no answer and no request.
        give_back: receives a settled request whose caller did not get the answer.
        is_awaited: whether these lines are of an earlier process, so that their requests may still come.

    Attributes:
        wants_lines: whether lines must be read that no request waits for.
        successor: the log of another life of the batch, which the record was handed over to.
        awaits_callers: whether there are lines of an earlier process whose requests may still come.
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
        self.successor: JournalBatchLog | None = None
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
        """Whether there are unclaimed lines that may still be answered."""
        return bool(self._unclaimed)

    @property
    def is_open(self) -> bool:
        """Whether the record is this log's, and not ended."""
        return self._record_state is _RecordState.OURS

    def hand_over(self) -> list[UnclaimedLine]:
        """Release the record to another `Batch`, which may exist already. This log never writes it again.

        Returns the unclaimed lines that may still be answered. They belong to the other `Batch`.
        """
        lines = list(self._unclaimed.values())
        self._unclaimed.clear()
        self._record_state = _RecordState.RELEASED
        self._handed_over.set()
        return lines

    async def until_taken_up(self) -> None:
        await self._handed_over.wait()

    async def intend(self, lines: list[tuple[str, Request]]) -> None:
        now = self._journal.wall_clock()
        models = sorted({request.model for _, request in lines})
        self._record_state = _RecordState.OURS
        self._change(request_count=len(lines), models=models, created_at=now, changed_at=now)
        reserved = reserved_for(request for _, request in lines)
        rows = [(number_of(id_), request.endpoint, request.body) for id_, request in lines]
        await self._journal.intend(self.record, rows, reserved, **self._keys_of(lines))

    def _keys_of(self, lines: list[tuple[str, Request]]) -> dict[str, Any]:
        """What else a journal wants to know of them."""
        return {}

    async def creating(self, file_id: str) -> None:
        self._change(stage="creating", file_id=file_id, changed_at=self._journal.wall_clock())
        await self._journal.creating(self.record.idempotency_key, file_id)

    def state_changed(self, state: BatchState) -> None:
        counts = {} if state.counts is None else {"completed": state.counts.completed, "failed": state.counts.failed}
        self._write(stage="created", batch_id=state.id, status=state.status, **counts)

    def cancelling(self) -> None:
        self._write(status="cancelling")

    def settled(self, request: Request, outcome: Answer | BatchError, charge: Charge | None) -> None:
        if isinstance(outcome, Answer) and not outcomes.is_retryable(outcome):
            self._journal.answer(self.record.idempotency_key, outcome, charge, is_taken=True)
            request.on_undelivered = self._give_back
        elif isinstance(outcome, Answer | BatchEndedError):
            self.line_dropped(request.custom_id)
        else:
            self.caller_left(request)

    def awaits_line(self, custom_id: str) -> bool:
        return custom_id in self._unclaimed

    def unclaimed_result(self, custom_id: str, outcome: Answer | BatchError, charge: Charge | None) -> None:
        if not self.keeps_answers:
            self._note_payment(custom_id, outcome, charge)
            return
        self._awaited.discard(custom_id)
        if not isinstance(outcome, Answer) or outcomes.is_retryable(outcome):
            self._unclaimed_failed(custom_id, outcome)
            return
        self._journal.answer(self.record.idempotency_key, outcome, charge, is_taken=False)
        line = self._unclaimed.pop(custom_id)
        line.is_stored, line.unclaimed_since = True, self._journal.wall_clock()

    def _unclaimed_failed(self, custom_id: str, outcome: Answer | BatchError) -> None:
        self.line_dropped(custom_id)

    def _note_payment(self, custom_id: str, outcome: Answer | BatchError, charge: Charge | None) -> None:
        """The line is read again for its caller, and is not booked again then."""
        if isinstance(outcome, Answer) and charge is not None:
            self._journal.answer(self.record.idempotency_key, outcome, charge, is_taken=False)
            self._unclaimed[custom_id].is_paid = True

    def charged(self, charge: Charge) -> None:
        self._journal.charge(self.record.idempotency_key, charge)

    def caller_left(self, request: Request) -> None:
        if self._record_state is _RecordState.UNWRITTEN:
            return
        line = UnclaimedLine(self.record.idempotency_key, number_of(request.custom_id), self._journal.wall_clock())
        self._owner()._unclaimed[request.custom_id] = line  # else two logs would await it, and book it
        self._unclaimed_lines.add(digest_of(request.endpoint, request.digested, self.record.account), line)

    def _owner(self) -> JournalBatchLog:
        """The log that the record was handed over to, if it was."""
        log = self
        while log.successor is not None:
            log = log.successor
        return log

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
            if self.keeps_answers:  # otherwise results are read again while the upstream has them
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
        """Allow the last write of the record; False if it is not ours to write."""
        was_ours, self._record_state = self._record_state is _RecordState.OURS, _RecordState.RELEASED
        return was_ours

    def _change(self, **fields: object) -> None:
        self.record = msgspec.structs.replace(self.record, **fields)


class AttachableBatch(Protocol):
    """A batch that requests can be attached to; see `Batch`."""

    log: BatchLog

    @property
    def accepts_lines(self) -> bool: ...

    def attach(self, line: UnclaimedLine, request: Request) -> None: ...

    def disown(self, *, is_doubled: bool) -> list[Request]: ...
