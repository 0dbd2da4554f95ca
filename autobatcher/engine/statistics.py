"""A snapshot of an engine's state."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BatcherStatistics:
    """A snapshot of an engine's state.

    Attributes:
        queued_requests: how many requests are in no batch yet.
        waiting_requests: how many requests have no outcome yet, queued ones included.
        active_batch_ids: the batches that the upstream works on, as far as known.
    """

    queued_requests: int
    waiting_requests: int
    active_batch_ids: tuple[str, ...]
