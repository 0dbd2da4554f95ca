"""How far things are: folded from the client's lifecycle events. Plain state, for whoever shows it."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from . import events

REMEMBERED_BATCHES = 200


@dataclass
class BatchProgress:
    """One upstream batch; `number` counts from 1 in the order of submission."""

    number: int
    id: str
    total: int
    begun: float
    status: str = "submitted"
    done: int = 0
    failed: int = 0
    ended: float | None = None
    is_news: bool = True

    @property
    def quarter(self) -> int:
        """How many quarters of it are done."""
        return 4 * self.done // max(self.total, 1)

    @property
    def words(self) -> str:
        """Its status in words."""
        return self.status.replace("_", " ")

    def move(self, status: str, counts: events.RequestCounts) -> None:
        """Take what the upstream says of it; `is_news` is whether that is worth a line of its own."""
        before = self.status, self.quarter
        self.done, self.failed = counts.completed + counts.failed, counts.failed
        self.status = status
        self.is_news = before != (self.status, self.quarter) and status not in events.TERMINAL_STATUSES


@dataclass
class Progress:
    """One run. Times are seconds since it began.

    Attributes:
        requests: how many calls there will be; None if nobody knows.
        errors: what failed calls said, and how often each was said.
    """

    requests: int | None
    answered: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    batches: dict[str, BatchProgress] = field(default_factory=dict)
    submitted_batches: int = 0
    cancelled_batches: int = 0
    started_at: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long ago this was made."""
        return time.monotonic() - self.started_at

    def answer(self, input_tokens: int, output_tokens: int) -> None:
        """A call was answered."""
        self.answered += 1
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens

    def fail(self, error: Exception) -> None:
        """A call failed."""
        self.failed += 1
        self.errors[f"{type(error).__name__}: {shortened(str(error))}"] += 1

    def take(self, event: events.AnyBatchEvent, now: float) -> BatchProgress | None:
        """A lifecycle event happened; gives the batch that it moved, if it moved one."""
        match event:
            case events.BatchSubmitted() | events.BatchResumed():
                self.submitted_batches += 1
                batch = BatchProgress(self.submitted_batches, event.batch_id, event.request_count, now)
                self.batches[event.batch_id] = batch
                self._forget_old_ones()
                return batch
            case events.BatchProgress() | events.BatchCompleted() | events.BatchTerminal():
                return self._move(event, now)
            case events.BatchCancelledUpstream():
                self.cancelled_batches += 1
                if event.batch_id in self.batches:
                    self.batches[event.batch_id].status = "cancelled"
                    self.batches[event.batch_id].ended = now
        return None

    def _forget_old_ones(self) -> None:
        """A proxy runs for months; what ended long ago is not shown any more."""
        ended = [batch.id for batch in self.batches.values() if batch.ended is not None]
        for batch_id in ended[: max(len(self.batches) - REMEMBERED_BATCHES, 0)]:
            del self.batches[batch_id]

    def _move(
        self, event: events.BatchProgress | events.BatchCompleted | events.BatchTerminal, now: float
    ) -> BatchProgress | None:
        batch = self.batches.get(event.batch_id)
        if batch is None:
            return None
        batch.move("completed" if isinstance(event, events.BatchCompleted) else event.status, event.counts)
        if not isinstance(event, events.BatchProgress):
            batch.ended = now
        return batch


def shortened(text: str, length: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[:length] + "..."
