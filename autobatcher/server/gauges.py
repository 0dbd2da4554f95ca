"""What a proxy has at this moment: requests and batches, how old they are, and what is left of its cap."""

from __future__ import annotations

from ..client.costs import CapLeft, cap_left
from ..client.openai import BatchOpenAI
from ..engine.statistics import BatcherStatistics
from .body_limiter import BodyLimiter
from .pending_calls import PendingCalls


class Gauges:
    """The present of one client and its calls."""

    def __init__(self) -> None:
        self._client: BatchOpenAI | None = None
        self._pending_calls: PendingCalls | None = None
        self._bodies: BodyLimiter | None = None

    def watch(self, client: BatchOpenAI, pending_calls: PendingCalls) -> None:
        """Tell of these."""
        self._client, self._pending_calls = client, pending_calls

    def watch_bodies(self, bodies: BodyLimiter) -> None:
        """Tell of these, too."""
        self._bodies = bodies

    def values(self) -> dict[str, float]:
        """Counts, and ages in seconds, by the names of metrics. Empty if nothing is watched."""
        if self._client is None or self._pending_calls is None:
            return {}
        statistics = self._client.batch_statistics() or BatcherStatistics()
        oldest = self._pending_calls.oldest_seconds
        return {
            "queued_requests": statistics.queued_requests,
            "waiting_requests": statistics.waiting_requests,
            "lane_requests": statistics.lane_requests,
            "active_batches": len(statistics.active_batch_ids),
            "clients_away": self._pending_calls.detached_count,
            "oldest_queued_seconds": oldest(self._client.is_queued) if statistics.queued_requests else 0.0,
            "oldest_waiting_seconds": oldest(),
            "oldest_batch_seconds": statistics.oldest_batch_seconds,
            "held_calls": self._pending_calls.lasting_count,
            "max_held_calls": self._pending_calls.most,
            **({} if self._bodies is None else _bytes_in(self._bodies)),
        }

    def cap(self) -> CapLeft | None:
        """What is left of the cap of all calls together; None if there is none."""
        return None if self._client is None else cap_left(self._client)


def _bytes_in(bodies: BodyLimiter) -> dict[str, float]:
    queued, most_queued = bodies.queued
    return {
        "held_bytes": bodies.held.used,
        "max_held_bytes": bodies.most,
        "queued_bytes": queued,
        "max_queued_bytes": most_queued,
    }
