"""The log of a batch in a shared journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import BatchEndedError, BatchError, JournalError
from .. import outcomes
from ..journal.records import number_of
from ..request import Answer, Request
from . import line_failures
from .batch_log import JournalBatchLog
from .pauses import Pauses

if TYPE_CHECKING:
    from ..journal.shared_journal import SharedJournal


class FleetBatchLog(JournalBatchLog):
    """Its callers may be clients of other engines, too.

    Args:
        pauses: notices that this process was paused.
        limited: what the provider's limit of batches an hour counts for: an account, or an upstream.
    """

    is_shared = True

    def __init__(self, journal: SharedJournal, pauses: Pauses, limited: str, *arguments: Any, **options: Any) -> None:
        super().__init__(journal, *arguments, **options)
        self._shared = journal
        self._pauses = pauses
        self._limited = limited

    def _keys_of(self, lines: list[tuple[str, Request]]) -> dict[str, Any]:
        return {"keys": {number_of(id_): each.held_key.key for id_, each in lines if each.held_key is not None}}

    def unclaimed_failed(self, error_of: Callable[[str], BatchEndedError]) -> None:
        if self._unclaimed and self.keeps_answers:
            ending = line_failures.encoded(error_of(next(iter(self._unclaimed))))
            self._shared.fail(self.record.idempotency_key, [number_of(each) for each in self._unclaimed], ending)
            self.drop_unanswered()

    def _unclaimed_failed(self, custom_id: str, outcome: Answer | BatchError) -> None:
        if isinstance(outcome, BatchEndedError) and not outcomes.is_retryable(outcome):
            self._unclaimed.pop(custom_id)
            self._shared.fail(self.record.idempotency_key, [number_of(custom_id)], line_failures.encoded(outcome))
        else:
            self.line_dropped(custom_id)

    async def ready(self) -> None:
        await self._pauses.settle()

    async def until_taken_up(self) -> None:
        """Any engine may go on with it, as soon as this one has left it: see `FleetRecovery.batch_ended`."""

    async def reserve_creation(self, most: int) -> float:
        return await self._shared.reserve_creation(self._limited, most)

    async def awaits_others(self) -> bool:
        try:
            return await self._shared.awaits_others(self.record.idempotency_key)
        except JournalError:  # nothing that may be awaited is cancelled
            return True
