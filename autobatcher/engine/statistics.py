"""What an engine holds at one moment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BatcherStatistics:
    """A snapshot of an engine.

    Attributes:
        queued_requests: those that are in no batch yet.
        waiting_requests: all that have no outcome yet.
        active_batch_ids: the batches that the upstream works on, as far as we know.
    """

    queued_requests: int
    waiting_requests: int
    active_batch_ids: tuple[str, ...]
