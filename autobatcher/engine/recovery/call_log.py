"""What a call on the flex or the real-time lane tells the journal of itself, so that a crash while it runs is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from anyio.lowlevel import checkpoint_if_cancelled

from ...money.ledger import Charge
from ..journal import BatchRecord, UnclaimedLine
from ..journal.records import custom_id_of
from ..request import Answer, Request
from ..reserved import reserved_for

if TYPE_CHECKING:
    from ..journal.journal import Journal  # imported at run time only if used: some Pythons lack sqlite3

KeepLine = Callable[[Request, UnclaimedLine], None]


class CallLog:
    """Null object used when no journal is configured. See `JournalCallLog`. One for each try of a call."""

    async def intend(self, request: Request) -> None:
        """Record that the call is about to be sent. If this raises, do not send it: the record is gone again.

        Raises:
            NoRoomError: if other engines have spent what the caps leave.
            JournalError: if it cannot be recorded.
        """

    def answered(self, request: Request, answer: Answer, charge: Charge | None) -> None:
        """The request is about to get this answer, which was billed."""

    def told_uncertain(self, request: Request, charge: Charge) -> None:
        """The request is about to get an error that says that the call may have been billed."""

    def left(self, request: Request, charge: Charge) -> None:
        """The caller left while the call ran. It may have been billed."""

    def repeated(self, charge: Charge) -> None:
        """The call is made again although it may have been executed, and billed."""

    def forget(self) -> None:
        """Nothing was executed."""


NULL_CALL_LOG = CallLog()


class JournalCallLog(CallLog):
    """The log of one try of a call in a journal: a record with one line.

    Args:
        unclaim: makes the line claimable for the next equal request.
        give_back: does so after its answer, or the error, did not reach the caller.
    """

    def __init__(self, journal: Journal, record: BatchRecord, unclaim: KeepLine, give_back: KeepLine) -> None:
        self._journal = journal
        self._record = record
        self._unclaim = unclaim
        self._give_back = give_back
        self._left: UnclaimedLine | None = None  # the line, once the caller has left

    async def intend(self, request: Request) -> None:
        now = self._journal.wall_clock()
        self._record = msgspec.structs.replace(
            self._record, request_count=1, models=[request.model], created_at=now, changed_at=now
        )
        request.custom_id = custom_id_of(self._record.idempotency_key, 0)
        try:
            lines, keys = [(0, request.endpoint, request.body)], {}
            if request.held_key is not None:
                keys["keys"] = {0: request.held_key.key}
            await self._journal.intend(self._record, lines, reserved_for([request]), **keys)
            await checkpoint_if_cancelled()  # its caller may have left just now: then it must not count as sent
        except BaseException:  # cancelled, it is written all the same
            self.forget()
            raise

    def answered(self, request: Request, answer: Answer, charge: Charge | None) -> None:
        key = self._record.idempotency_key
        if answer.lane != self._record.lane:
            self._journal.update(key, completion_window=answer.lane)
        self._journal.answer(key, answer, charge, is_taken=self._left is None)
        self._journal.end(key)
        if self._left is None:
            line = self._line(answer.lane, is_stored=not self._journal.is_hash_only)
            request.on_undelivered = lambda request: self._give_back(request, line)

    def told_uncertain(self, request: Request, charge: Charge) -> None:
        self._journal.charge(self._record.idempotency_key, charge)
        if self._left is None:
            line = self._line(self._record.lane)
            self._journal.told_uncertain(line)
            request.on_undelivered = lambda request: self._give_back(request, line)

    def left(self, request: Request, charge: Charge) -> None:
        self._journal.charge(self._record.idempotency_key, charge)
        self._journal.booked_call(self._record.idempotency_key)
        self._left = self._line(self._record.lane)
        self._unclaim(request, self._left)

    def repeated(self, charge: Charge) -> None:
        self._journal.charge(self._record.idempotency_key, charge)
        self.forget()

    def forget(self) -> None:
        if self._left is not None:
            self._left.is_gone = True
        self._journal.forget(self._record.idempotency_key)

    def _line(self, lane: str, *, is_stored: bool = False) -> UnclaimedLine:
        now = self._journal.wall_clock()
        return UnclaimedLine(self._record.idempotency_key, 0, now, is_stored=is_stored, lane=lane, is_paid=True)
