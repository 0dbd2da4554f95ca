"""The batches of one engine, and their places."""

from __future__ import annotations

from collections.abc import Iterator

from .batch.batch import Batch
from .batch.upstream import UpstreamBatch
from .dispatch.dispatcher import Dispatcher
from .queue.queue import RequestQueue
from .shares import Shares
from .statistics import BatcherStatistics


class ActiveBatches:
    """All batches that are under way, in places that accounts share.

    Args:
        most: how many there may be. Those that are resumed count, but do not wait for a place.

    Attributes:
        places: a place is taken before its batch is added.
    """

    def __init__(self, most: int, *, isolates: bool) -> None:
        self.places: Shares = Shares(most, isolates=isolates)
        self._batches: set[Batch] = set()
        self._to_start: list[Batch] = []

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches)

    def add(self, batch: Batch) -> None:
        """Add a batch whose place is taken."""
        self._batches.add(batch)

    def resume(self, batch: Batch) -> None:
        """Add a batch of an earlier process, even beyond the limit. It is to be started."""
        self._batches.add(batch)
        self.places.take(batch.account)
        self._to_start.append(batch)

    def pop_resumed(self) -> list[Batch]:
        """Remove and return those that are to be started."""
        resumed, self._to_start = self._to_start, []
        return resumed

    def remove(self, batch: Batch) -> bool:
        """Free the place of a batch; False if it was free already."""
        if batch not in self._batches:
            return False
        self._batches.discard(batch)
        self.places.give_back(batch.account)
        return True

    def statistics(self, queue: RequestQueue, dispatcher: Dispatcher, recovering: int) -> BatcherStatistics:
        """A snapshot of the engine. `recovering`: how many requests wait for the journal."""
        active, durations = self.running(), dispatcher.durations
        elsewhere = recovering + len(queue) + len(dispatcher)
        return BatcherStatistics(
            queued_requests=len(queue),
            waiting_requests=elsewhere + sum(len(batch.pending) for batch in self._batches),
            lane_requests=len(dispatcher),
            active_batch_ids=tuple(active),
            remaining_seconds={name: batch.remaining_seconds(durations) for name, batch in active.items()},
            oldest_batch_seconds=max((batch.age_seconds for batch in active.values()), default=0.0),
        )

    def running(self) -> dict[str, UpstreamBatch]:
        """Those on which the upstream works, as far as known, by their ids."""
        upstreams = (batch.upstream for batch in self._batches)
        return {each.batch_id: each for each in upstreams if each.is_active and each.batch_id}

    def close(self) -> None:
        """Fail the requests that wait in them."""
        for batch in self._batches:
            batch.close()
