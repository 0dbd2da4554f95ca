"""Progress of a run, computed from the client's lifecycle events. Pure state, no output."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field

from . import events

REMEMBERED_BATCHES = 200
KEPT_MODELS, MODEL_LENGTH = 3, 100


@dataclass
class BatchProgress:
    """One upstream batch.

    Attributes:
        number: counts from 1 in order of submission.
        models: the first ones of its `model_count` models, shortened: callers choose the names.
        done: how many lines have a result, those that `failed` included.
    """

    number: int
    id: str
    total: int
    begun: float
    endpoint: str = ""
    completion_window: str = ""
    models: tuple[str, ...] = ()
    model_count: int = 0
    status: str = "submitted"
    done: int = 0
    failed: int = 0
    ended: float | None = None
    is_news: bool = True

    @property
    def quarter(self) -> int:
        """How many quarters of the batch are done."""
        return 4 * self.done // max(self.total, 1)

    @property
    def words(self) -> str:
        """The status in words."""
        return self.status.replace("_", " ")

    def move(self, status: str, counts: events.RequestCounts) -> None:
        """Record what the upstream reports. Sets `is_news` if a new line of output is worthwhile."""
        before = self.status, self.quarter
        self.done, self.failed = counts.completed + counts.failed, counts.failed
        self.status = status
        self.is_news = before != (self.status, self.quarter) and status not in events.TERMINAL_STATUSES


@dataclass
class Progress:
    """One run. Times are in seconds since it began.

    Attributes:
        requests: the expected number of calls; None if unknown.
        errors: messages of failed calls, each with its count.
        escalated: how many requests went on to another lane.
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
    escalated: int = 0
    started_at: float = field(default_factory=time.monotonic)
    _ended: deque[str] = field(default_factory=deque, init=False, repr=False)

    @property
    def seconds(self) -> float:
        """The time since the run began."""
        return time.monotonic() - self.started_at

    def answer(self, input_tokens: int, output_tokens: int) -> None:
        """Record an answered call."""
        self.answered += 1
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens

    def fail(self, error: Exception) -> None:
        """Record a failed call."""
        self.failed += 1
        self.errors[f"{type(error).__name__}: {shortened(str(error))}"] += 1

    def take(self, event: events.AnyBatchEvent, now: float) -> BatchProgress | None:
        """Record a lifecycle event; return the batch that it changed, if any."""
        match event:
            case events.BatchSubmitted() | events.BatchResumed():
                self.submitted_batches += 1
                batch = BatchProgress(
                    self.submitted_batches,
                    event.batch_id,
                    event.request_count,
                    now,
                    event.endpoint,
                    event.completion_window,
                    tuple(shortened(model, MODEL_LENGTH) for model in event.models[:KEPT_MODELS]),
                    len(event.models),
                )
                self.batches[event.batch_id] = batch
                self._forget_old_ones()
                return batch
            case events.BatchProgress() | events.BatchCompleted() | events.BatchTerminal():
                return self._move(event, now)
            case events.RequestsEscalated():
                self.escalated += event.request_count
            case events.BatchCancelledUpstream():
                self.cancelled_batches += 1
                if event.batch_id in self.batches:
                    self.batches[event.batch_id].status = "cancelled"
                    self._end(self.batches[event.batch_id], now)
        return None

    def _forget_old_ones(self) -> None:
        """Forget the batches that ended first: a proxy runs for months."""
        while self._ended and len(self.batches) > REMEMBERED_BATCHES:
            batch_id = self._ended.popleft()
            batch = self.batches.get(batch_id)
            if batch is not None and batch.ended is not None:  # it may have been resumed
                del self.batches[batch_id]

    def _end(self, batch: BatchProgress, now: float) -> None:
        if batch.ended is None:
            self._ended.append(batch.id)
        batch.ended = now

    def _move(
        self, event: events.BatchProgress | events.BatchCompleted | events.BatchTerminal, now: float
    ) -> BatchProgress | None:
        batch = self.batches.get(event.batch_id)
        if batch is None:
            return None
        batch.move("completed" if isinstance(event, events.BatchCompleted) else event.status, event.counts)
        if not isinstance(event, events.BatchProgress):
            self._end(batch, now)
        return batch


def shortened(text: str, length: int = 200) -> str:
    """The beginning of a text, on one line."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[:length] + "..."
