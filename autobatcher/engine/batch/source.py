"""Where a batch comes from: requests of this process, or the journal's record of an earlier life. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ...upstream.batch_state import BatchState
from ..journal import BatchRecord
from ..journal.records import custom_id_of
from ..settings import Settings

MIN_TIME_LEFT_SECONDS = 600.0
"""How long an earlier batch may take from now on, however old it is: enough to read what ended long ago."""


@dataclass(frozen=True)
class NewBatch:
    """Requests that gathered in a window: uploaded, created, polled, read."""

    record: None = None

    def deadline_seconds(self, settings: Settings) -> float:
        """How long from now on the batch may take to end."""
        return settings.batch_deadline_seconds

    def resends_unanswered(self, first: BatchState, last: BatchState) -> bool:
        """Whether the end of the batch is no answer to the requests without a line of their own."""
        return False


@dataclass(frozen=True)
class EarlierBatch:
    """A batch that an earlier process created, or an earlier life in this one: found again, polled, read.

    Its callers did not order it: where it does not answer them, they get a batch of their own.

    Args:
        record: what the journal has of it.
        age_seconds: how long ago it was created.
        idle_seconds: how long ago its record last changed.
    """

    record: BatchRecord
    age_seconds: float
    idle_seconds: float

    @classmethod
    def of(cls, record: BatchRecord, now: float) -> EarlierBatch:
        """The batch of that record; `now` in Unix seconds."""
        return cls(record, age_seconds=now - record.created_at, idle_seconds=now - record.changed_at)

    @property
    def lines(self) -> list[str]:
        """As many custom_ids as it has lines. Which is in which place is not known: callers may have left before the
        upload."""
        return [custom_id_of(self.record.idempotency_key, number) for number in range(self.record.request_count)]

    def deadline_seconds(self, settings: Settings) -> float:
        """How long from now on the batch may take to end: what is left of its time."""
        left = settings.batch_deadline_seconds - max(0.0, self.age_seconds)
        return max(left, settings.deadline_slack_seconds, MIN_TIME_LEFT_SECONDS)

    def resends_unanswered(self, first: BatchState, last: BatchState) -> bool:
        """Whether the end of the batch is no answer to the requests without a line of their own.

        What a completed batch counts as done was paid for, so its end is an answer in any case. Another end is none if
        it came before us, or was wanted before us; nor is a failed input file, since nobody knows whose line was to
        blame.
        """
        if last.status == "completed":
            return False
        was_over = self.record.status == "cancelling" or first.status == "cancelling" or first.is_terminal
        return was_over or last.status == "failed"


Source = NewBatch | EarlierBatch
