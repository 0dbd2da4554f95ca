"""A snapshot of an engine's state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class BatcherStatistics:
    """A snapshot of an engine's state; by default, of one that has done nothing.

    Attributes:
        queued_requests: how many requests are in no batch yet.
        waiting_requests: how many requests have no outcome yet, queued ones included.
        lane_requests: how many of those wait on the flex and real-time lanes.
        active_batch_ids: the batches that the upstream works on, as far as known.
        remaining_seconds: for each of these, within how many more seconds half of such batches are done.
        oldest_batch_seconds: how long the oldest of these has run; 0 if there is none.
    """

    queued_requests: int = 0
    waiting_requests: int = 0
    lane_requests: int = 0
    active_batch_ids: tuple[str, ...] = ()
    remaining_seconds: Mapping[str, float] = field(default_factory=dict)
    oldest_batch_seconds: float = 0.0
