"""The log of a batch in a shared journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import JournalError
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

    def __init__(self, journal: SharedJournal, pauses: Pauses, limited: str, *arguments: Any, **options: Any) -> None:
        super().__init__(journal, *arguments, **options)
        self._shared = journal
        self._pauses = pauses
        self._limited = limited

    async def ready(self) -> None:
        await self._pauses.settle()

    async def reserve_creation(self, most: int) -> float:
        return await self._shared.reserve_creation(self._limited, most)

    async def awaits_others(self) -> bool:
        try:
            return await self._shared.awaits_others(self.record.idempotency_key)
        except JournalError:  # nothing that may be awaited is cancelled
            return True
