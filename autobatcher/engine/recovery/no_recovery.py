"""The recovery of an engine without a journal: nothing comes back."""

from __future__ import annotations

from ..journal import SessionEnding
from ..lanes.lane import Lane
from ..request import ErrorFor, Request
from .batch_log import NULL_BATCH_LOG, AttachableBatch, BatchLog
from .call_log import NULL_CALL_LOG, CallLog


class NoRecovery:
    """Null object used when no journal is configured. See `Recovery`."""

    def __len__(self) -> int:
        """How many requests wait here."""
        return 0

    async def open(self) -> None:
        """Take the journal. Raises `JournalError`."""

    async def run(self) -> None:
        """Deliver stored answers, until cancelled."""

    async def close(self, ending: SessionEnding) -> None:
        """Release the journal."""

    def claim(self, request: Request) -> bool:
        """Let `request` claim a matching line, and wait here or in its batch; False if none matches."""
        return False

    def fail_all(self, error_for: ErrorFor) -> None:
        """Settle each request that waits here with an error of its own."""

    def new_log(self, idempotency_key: str, first: Request) -> BatchLog:
        """Make the log of a new batch of requests like `first`."""
        return NULL_BATCH_LOG

    def new_call_log(self, request: Request, lane: Lane) -> CallLog:
        """Make the log of a call on another lane."""
        return NULL_CALL_LOG

    def batch_started(self, batch: AttachableBatch) -> None:
        """Register a batch that runs in this engine."""

    def batch_ended(self, batch: AttachableBatch) -> None:
        """Unregister a batch."""
