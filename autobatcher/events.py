"""Lifecycle events: one frozen class per kind of event.

A `batch_event_handler` is called with a plain dict (`BatchEvent.to_dict()`): JSON types only, and the fields that
autobatcher 0.6 had. Use `parse` for typed access:

    def on_event(fields: dict[str, Any]) -> None:
        match events.parse(fields):
            case events.BatchProgress(batch_id=batch_id, counts=counts):
                print(batch_id, counts.completed, "of", counts.total)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

__all__ = [
    "parse",
    "BatchEventHandler",
    "AnyBatchEvent",
    "BatchEvent",
    "BatchSubmitted",
    "BatchSubmissionFailed",
    "BatchProgress",
    "BatchCompleted",
    "BatchTerminal",
    "BatchLeft",
    "BatchResumed",
    "RequestsReattached",
    "RequestsResubmitted",
    "RequestsEscalated",
    "RequestsFailed",
    "BatchCancelRequested",
    "BatchCancelledUpstream",
    "BatchCancelFailed",
    "ClientClosing",
    "RequestCounts",
    "TERMINAL_STATUSES",
]

BatchEventHandler = Callable[[dict[str, Any]], None]
"""The type of `batch_event_handler`: a plain function of one dict. Exceptions it raises are logged and suppressed."""

TERMINAL_STATUSES = frozenset({"completed", "failed", "expired", "cancelled"})
"""Statuses of a batch after which nothing more happens to it."""


def parse(fields: dict[str, Any]) -> AnyBatchEvent:
    """Convert the dict that a handler received into a typed event.

    Raises:
        msgspec.ValidationError: if the dict is not one of our events.
    """
    event: AnyBatchEvent = msgspec.convert(fields, _ANY_BATCH_EVENT)
    return event


class RequestCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests of a batch are done, as reported by the upstream."""

    completed: int = 0
    failed: int = 0
    total: int = 0


class BatchEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """Base class of all events.

    Attributes:
        ts: when the event happened, in Unix seconds (wall clock).
        source: always "autobatcher".
    """

    ts: float
    source: str = "autobatcher"

    def to_dict(self) -> dict[str, Any]:
        """Return the event as a dict of JSON types, with its name under "event"."""
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
    """A batch could not be submitted. Its callers got an error."""

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
    """The batch is `completed` and its results were read. Single requests may still have failed."""

    counts: RequestCounts
    elapsed_seconds: float


class BatchTerminal(_OfOneBatch, frozen=True, kw_only=True, tag="batch_terminal"):
    """The batch ended as `failed`, `expired` or `cancelled`."""

    status: str
    counts: RequestCounts
    elapsed_seconds: float


class BatchLeft(_OfOneBatch, frozen=True, kw_only=True, tag="batch_left"):
    """The client closed and left the batch running upstream. Not every line of it was answered."""


class BatchResumed(_OfOneBatch, frozen=True, kw_only=True, tag="batch_resumed"):
    """A batch of an earlier process was found in the journal, and is being polled again."""


class RequestsReattached(BatchEvent, frozen=True, kw_only=True, tag="requests_reattached"):
    """Requests were answered from the journal. They had been paid for before."""

    request_count: int
    metadata: dict[str, str]


class RequestsResubmitted(BatchEvent, frozen=True, kw_only=True, tag="requests_resubmitted"):
    """Requests of a batch move to another batch. Their callers keep waiting."""

    batch_id: str | None
    endpoint: str
    request_count: int
    models: list[str]
    completion_window: str
    metadata: dict[str, str]
    reason: str


class RequestsEscalated(BatchEvent, frozen=True, kw_only=True, tag="requests_escalated"):
    """Requests go on to another lane, because their deadline is near. Their callers keep waiting.

    Attributes:
        batch_id: the batch that was cut off for them; None if they were in none.
        from_lane, to_lane: "batch", "flex" or "realtime".
        paid_twice: whether they may be billed on both lanes.
    """

    batch_id: str | None
    endpoint: str
    request_count: int
    models: list[str]
    metadata: dict[str, str]
    from_lane: str
    to_lane: str
    reason: str
    paid_twice: bool = False


class RequestsFailed(BatchEvent, frozen=True, kw_only=True, tag="requests_failed"):
    """Requests failed for good, for one cause. Their callers have the error. Told when their batch is over.

    Attributes:
        batch_id: their batch; None if there was none.
        models: at most 20 of them.
        status: the upstream's HTTP status; 0 if it gave none.
        code: the error code; None if there is none.
        message: the reason, at most 300 characters. Quotations of prompts are masked.
        custom_ids: the lines of the first 20.
        lane: "batch", "flex" or "realtime".
    """

    batch_id: str | None
    endpoint: str
    request_count: int
    models: list[str]
    metadata: dict[str, str]
    status: int
    code: str | None
    message: str
    custom_ids: list[str]
    lane: str


class BatchCancelRequested(_OfOneBatch, frozen=True, kw_only=True, tag="batch_cancel_requested"):
    """We are about to cancel the batch upstream."""


class BatchCancelledUpstream(BatchEvent, frozen=True, kw_only=True, tag="batch_cancelled_upstream"):
    """The upstream accepted our cancellation."""

    batch_id: str
    endpoint: str
    metadata: dict[str, str]


class BatchCancelFailed(BatchEvent, frozen=True, kw_only=True, tag="batch_cancel_failed"):
    """The upstream did not confirm our cancellation. The batch may keep running, and cost money."""

    batch_id: str
    endpoint: str
    metadata: dict[str, str]
    error: str


class ClientClosing(BatchEvent, frozen=True, kw_only=True, tag="client_closing"):
    """The engine stops. Requests that still wait get a `ClientClosedError`.

    Attributes:
        pending_request_count: those that wait, in a window, in a batch or elsewhere, and those whose callers are
            cancelled together with the engine.
        cancel_active_batches_on_close: whether running batches are cancelled. (A journal may keep them all the same.)
    """

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
    | BatchLeft
    | RequestsReattached
    | RequestsResubmitted
    | RequestsEscalated
    | RequestsFailed
    | BatchCancelRequested
    | BatchCancelledUpstream
    | BatchCancelFailed
    | ClientClosing
)
_ANY_BATCH_EVENT: Any = AnyBatchEvent
