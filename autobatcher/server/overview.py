"""What the page shows of batches, of what waits, and of the last minutes."""

from __future__ import annotations

from typing import Any

from ..client.openai import BatchOpenAI
from ..engine.statistics import BatcherStatistics
from ..progress import Progress
from .batch_costs import BatchCosts
from .batch_rows import MOST_ROWS, batch_rows, chosen
from .history import Counts, History
from .pending_calls import PendingCalls
from .tally import Tally
from .waiting_kinds import WaitingKinds


class Overview:
    """The longer parts of a proxy's status.

    Attributes:
        history: the last minutes, as long as its `run` runs.
    """

    def __init__(self, progress: Progress, tally: Tally) -> None:
        self.history: History = History(self._count)
        self._progress = progress
        self._tally = tally
        self._client: BatchOpenAI | None = None
        self._waiting: WaitingKinds | None = None
        self._costs: BatchCosts | None = None

    def watch(self, client: BatchOpenAI, pending_calls: PendingCalls) -> None:
        """Report on these."""
        self._client, self._waiting, self._costs = client, WaitingKinds(pending_calls.calls), BatchCosts(client)

    async def refresh(self) -> None:
        """Bring up to date what takes a moment."""
        if self._waiting is not None and self._costs is not None:
            await self._waiting.refresh()
            await self._costs.refresh(batch.id for batch in chosen(self._progress.batches, MOST_ROWS))

    def fields(self, statistics: BatcherStatistics | None, most_batches: int) -> dict[str, Any]:
        """The state as JSON types, with at most so many batches."""
        remaining = {} if statistics is None else statistics.remaining_seconds
        costs = {} if self._costs is None else self._costs.told
        shown = chosen(self._progress.batches, most_batches)
        return {
            "batches": batch_rows(shown, self._progress.seconds, remaining, costs),
            "batches_known": len(self._progress.batches),
            "batches_submitted": self._progress.submitted_batches,
            "queue": None if self._waiting is None else self._waiting.fields(),
            "history": self.history.fields(self._counts(statistics)),
        }

    def _count(self) -> Counts:
        return self._counts(None if self._client is None else self._client.batch_statistics())

    def _counts(self, statistics: BatcherStatistics | None) -> Counts:
        waiting = 0 if statistics is None else statistics.waiting_requests
        return Counts(waiting, self._tally.answered, self._tally.failed)
