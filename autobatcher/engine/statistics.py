"""A snapshot of an engine's state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BatcherStatistics:
    """A snapshot of an engine's state.

    Attributes:
        queued_requests: how many requests are in no batch yet.
        waiting_requests: how many requests have no outcome yet, queued ones included.
        lane_requests: how many of those wait on the flex and real-time lanes.
        active_batch_ids: the batches that the upstream works on, as far as known.
        remaining_seconds: for each of these, within how many more seconds half of such batches are done.
    """

    queued_requests: int
    waiting_requests: int
    lane_requests: int
    active_batch_ids: tuple[str, ...]
    remaining_seconds: Mapping[str, float]
