"""The recovery of an engine without a journal: nothing comes back."""

from __future__ import annotations

from collections.abc import Callable

from ...upstream.account import Account
from ..journal import SessionEnding
from ..journal.responses import JournaledResponses
from ..lanes.lane import Lane
from ..request import ErrorFor, Request
from .batch_log import NULL_BATCH_LOG, AttachableBatch, BatchLog
from .call_log import NULL_CALL_LOG, CallLog
from .deliveries import Deliveries


class NoRecovery:
    """Null object used when no journal is configured. See `Recovery`.

    Attributes:
        deliveries: what the journal need not keep; None without one.
    """

    deliveries: Deliveries | None = None

    def __len__(self) -> int:
        """How many requests wait here."""
        return 0

    @property
    def responses(self) -> JournaledResponses | None:
        """The background responses in the journal; None if it keeps no prompts and answers."""
        return None

    def know(self, account: Account) -> None:
        """Requests of this account may come: batches of it that no engine runs can be run here."""

    def show_at(self, status_url: str) -> None:
        """Tell other engines where the state of this process can be seen. Before `open`."""

    def pass_hint(self, batch_id: str) -> None:
        """Tell other engines that this batch, which does not run here, is said to have ended."""

    @property
    def session(self) -> int | None:
        """The number by which other engines know this one; None if there are no others."""
        return None

    def knows(self, account: bytes) -> bool:
        """Whether requests of the account with this fingerprint came, or may come."""
        return False

    async def open(self) -> None:
        """Take the journal. Raises `JournalError`."""

    async def run(self, on_defect: Callable[[Exception], None]) -> None:
        """Deliver stored answers, until cancelled or until a bug of ours, which is told."""

    async def close(self, ending: SessionEnding) -> None:
        """Release the journal."""

    def claim(self, request: Request) -> bool:
        """Let `request` claim a matching line, and wait here or in its batch; False if none matches."""
        return False

    def fail_all(self, error_for: ErrorFor) -> None:
        """Settle each request that waits here with an error of its own."""

    def flush_early(self) -> None:
        """Close the windows of the requests that wait for the journal, once it is open."""

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
