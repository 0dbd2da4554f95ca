"""Lifecycle events: one frozen class per fact.

A `batch_event_handler` is called with the plain dict (`BatchEvent.to_dict()`, JSON-able, the fields that the 0.6
generation had). For typed access, give that dict to `parse`:

    def on_event(fields: dict[str, Any]) -> None:
        match events.parse(fields):
            case events.BatchProgress(batch_id=batch_id, counts=counts):
                print(batch_id, counts.completed, "of", counts.total)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

BatchEventHandler = Callable[[dict[str, Any]], None]
"""What `batch_event_handler` must be: a plain function of one dict. What it raises is logged and goes no further."""

TERMINAL_STATUSES = frozenset({"completed", "failed", "expired", "cancelled"})
"""Statuses of a batch after which nothing more happens to it."""


def parse(fields: dict[str, Any]) -> AnyBatchEvent:
    """Turn the dict that a handler was given into its typed event.

    Raises:
        msgspec.ValidationError: if the dict is no event of ours.
    """
    event: AnyBatchEvent = msgspec.convert(fields, _ANY_BATCH_EVENT)
    return event


class RequestCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many lines of a batch are done, as the upstream counts them."""

    completed: int = 0
    failed: int = 0
    total: int = 0


class BatchEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """What every event has: where it comes from and when (Unix seconds, wall clock)."""

    ts: float
    source: str = "autobatcher"

    def to_dict(self) -> dict[str, Any]:
        """The event as a plain dict of JSON types, with its name under "event"."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields


class _OfOneBatch(BatchEvent, frozen=True, kw_only=True):
    batch_id: str
    endpoint: str
    input_file_id: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_count: int
    models: list[str]
    completion_window: str
    metadata: dict[str, str]


class BatchSubmitted(_OfOneBatch, frozen=True, kw_only=True, tag="batch_submitted"):
    """The upstream accepted the batch."""


class BatchSubmissionFailed(BatchEvent, frozen=True, kw_only=True, tag="batch_submission_failed"):
    """A window's requests could not be made a batch; their callers have been told."""

    endpoint: str
    request_count: int
    models: list[str]
    completion_window: str
    metadata: dict[str, str]
    error: str


class BatchProgress(_OfOneBatch, frozen=True, kw_only=True, tag="batch_progress"):
    """The status or the counts changed since the last poll."""

    status: str
    counts: RequestCounts
    elapsed_seconds: float


class BatchCompleted(_OfOneBatch, frozen=True, kw_only=True, tag="batch_completed"):
    """The batch is `completed` and has been read; single lines may still have failed."""

    counts: RequestCounts
    elapsed_seconds: float


class BatchTerminal(_OfOneBatch, frozen=True, kw_only=True, tag="batch_terminal"):
    """The batch ended in another way: `failed`, `expired` or `cancelled`."""

    status: str
    counts: RequestCounts
    elapsed_seconds: float


class BatchResumed(_OfOneBatch, frozen=True, kw_only=True, tag="batch_resumed"):
    """A batch of an earlier process was found in the journal, and is waited for again."""


class RequestsReattached(BatchEvent, frozen=True, kw_only=True, tag="requests_reattached"):
    """So many requests got answers that the journal had: they were paid for before."""

    request_count: int
    metadata: dict[str, str]


class RequestsResubmitted(BatchEvent, frozen=True, kw_only=True, tag="requests_resubmitted"):
    """So many requests of a batch go into another one; their callers just go on waiting."""

    batch_id: str | None
    endpoint: str
    request_count: int
    models: list[str]
    completion_window: str
    metadata: dict[str, str]
    reason: str


class BatchCancelRequested(_OfOneBatch, frozen=True, kw_only=True, tag="batch_cancel_requested"):
    """We are about to cancel the batch upstream."""


class BatchCancelledUpstream(BatchEvent, frozen=True, kw_only=True, tag="batch_cancelled_upstream"):
    """The upstream took our cancellation."""

    batch_id: str
    endpoint: str
    metadata: dict[str, str]


class BatchCancelFailed(BatchEvent, frozen=True, kw_only=True, tag="batch_cancel_failed"):
    """The upstream did not take our cancellation: the batch may still run, and cost."""

    batch_id: str
    endpoint: str
    metadata: dict[str, str]
    error: str


class ClientClosing(BatchEvent, frozen=True, kw_only=True, tag="client_closing"):
    """The engine stops; requests still waiting get a `ClientClosedError`."""

    pending_request_count: int
    active_batch_ids: list[str]
    cancel_active_batches_on_close: bool
    metadata: dict[str, str]


AnyBatchEvent = (
    BatchSubmitted
    | BatchResumed
    | BatchSubmissionFailed
    | BatchProgress
    | BatchCompleted
    | BatchTerminal
    | RequestsReattached
    | RequestsResubmitted
    | BatchCancelRequested
    | BatchCancelledUpstream
    | BatchCancelFailed
    | ClientClosing
)
_ANY_BATCH_EVENT: Any = AnyBatchEvent
