"""How batches ended and how long they took, folded from events."""

from __future__ import annotations

from collections import Counter

from .. import events
from .histogram import Histogram
from .labels import OTHER

ENDS = ("completed", "failed", "expired", "cancelled", "cancelled by us")


class BatchCounts:
    """Counts of batches.

    Attributes:
        ends: by final status.
        durations: of those that ended upstream, by endpoint and final status.
        failed_submissions: batches that the upstream did not take.
        left: batches that were left running at the stop.
        failed_cancellations: batches that may run on, and cost money, after they were to be cancelled.
        resubmitted: requests that went into another batch.
        escalations: requests that went from one lane to another.
    """

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()
        self.durations: dict[tuple[str, str], Histogram] = {}
        self.failed_submissions: int = 0
        self.left: int = 0
        self.failed_cancellations: int = 0
        self.resubmitted: int = 0
        self.escalations: Counter[tuple[str, str]] = Counter()

    def take(self, event: events.AnyBatchEvent) -> None:
        """Count an event."""
        match event:
            case events.BatchTerminal():
                self._end(event, event.status if event.status in ENDS else OTHER)
            case events.BatchCompleted():
                self._end(event, "completed")
            case events.BatchCancelledUpstream():
                self.ends["cancelled by us"] += 1
            case events.BatchLeft():
                self.left += 1
            case events.BatchSubmissionFailed():
                self.failed_submissions += 1
            case events.BatchCancelFailed():
                self.failed_cancellations += 1
            case events.RequestsResubmitted():
                self.resubmitted += event.request_count
            case events.RequestsEscalated():
                self.escalations[event.from_lane, event.to_lane] += event.request_count

    def _end(self, event: events.BatchTerminal | events.BatchCompleted, status: str) -> None:
        self.ends[status] += 1
        self.durations.setdefault((event.endpoint, status), Histogram()).add(event.elapsed_seconds)
