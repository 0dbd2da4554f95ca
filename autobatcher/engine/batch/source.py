"""Where a batch comes from: requests of this process, or a record in the journal. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ...upstream.batch_state import BatchState
from ..journal import BatchRecord
from ..journal.records import custom_id_of
from ..settings import Settings

MIN_TIME_LEFT_SECONDS = 600.0
"""Minimum time that an earlier batch gets from now on, however old it is: enough to read results of a batch that ended
long ago."""


@dataclass(frozen=True)
class NewBatch:
    """A batch of requests that gathered in a window."""

    completion_window: str
    models: tuple[str, ...] = ()
    age_seconds: float = 0.0

    def deadline_seconds(self, settings: Settings) -> float:
        """How long the batch may take from now on, in seconds."""
        return settings.deadline_seconds_of(self.completion_window)

    def resends_unanswered(self, first: BatchState, last: BatchState) -> bool:
        """Whether requests without a result line go into a new batch instead of failing."""
        return False


@dataclass(frozen=True)
class EarlierBatch:
    """A batch that an earlier process created, or an earlier `Batch` in this one.

    Its present callers did not create it. Where it has no answer for them, they get a new batch.

    Args:
        record: its record in the journal.
        age_seconds: the time since its creation.
        idle_seconds: the time since its record last changed.
    """

    record: BatchRecord
    age_seconds: float
    idle_seconds: float

    @classmethod
    def of(cls, record: BatchRecord, now: float) -> EarlierBatch:
        """Make the batch of `record`. `now` is in Unix seconds."""
        return cls(record, age_seconds=now - record.created_at, idle_seconds=now - record.changed_at)

    @property
    def lines(self) -> list[str]:
        """As many custom_ids as the batch has lines. Their positions in the file are unknown, because callers may have
        left before the upload."""
        return [custom_id_of(self.record.idempotency_key, number) for number in range(self.record.request_count)]

    @property
    def models(self) -> tuple[str, ...]:
        """The models of its lines."""
        return tuple(self.record.models)

    @property
    def completion_window(self) -> str:
        """The window that the batch was created with."""
        return self.record.completion_window

    def deadline_seconds(self, settings: Settings) -> float:
        """How long the batch may take from now on, in seconds: what is left of its time."""
        left = settings.deadline_seconds_of(self.completion_window) - max(0.0, self.age_seconds)
        return max(left, settings.deadline_slack_seconds, MIN_TIME_LEFT_SECONDS)

    def resends_unanswered(self, first: BatchState, last: BatchState) -> bool:
        """Whether requests without a result line go into a new batch instead of failing.

        Not for a completed batch: what it counts as done was paid for. Yes if the batch had ended, or was being
        cancelled, before we polled it, and if its input file was rejected, since we do not know whose line was at
        fault.
        """
        if last.status == "completed":
            return False
        was_over = self.record.status == "cancelling" or first.status == "cancelling" or first.is_terminal
        return was_over or last.status == "failed"


Source = NewBatch | EarlierBatch
