"""A batch that may have been created or not: looked up for as long as deadlines allow."""

from __future__ import annotations

import math

import anyio

from ... import events
from ...upstream.back_off import back_off
from ...upstream.batch_api import LOOKUP_DELAYS
from ...upstream.failures import UpstreamError
from ..journal import BatchRecord
from .cutoff import Cutoff
from .pending import PendingRequests
from .phase import Phase
from .source import EarlierBatch
from .upstream import UpstreamBatch

DISPATCHER_SECONDS = 1.0
"""How long after a deadline its request is still waited for: the dispatcher tells its caller, at the deadline."""


async def find_again(batch: UpstreamBatch, record: BatchRecord, age_seconds: float) -> bool:
    """Find the batch of a journal record; False if it was never created.

    A creation of unknown outcome is looked up until any server would have listed the batch.

    Args:
        age_seconds: the time since that record last changed.

    Raises:
        UpstreamError: if the lookup fails permanently.
    """
    batch.resume(record, age_seconds)
    if batch.phase is Phase.CREATING:
        await _find_until(batch, anyio.current_time() + max(0.0, sum(LOOKUP_DELAYS) - max(0.0, age_seconds)))
    if batch.state is None:
        batch.phase = Phase.UPLOADING
    return batch.state is not None


async def _find_until(batch: UpstreamBatch, moment: float) -> None:
    """Look it up at least once, and for the last time after that moment."""
    delays = back_off()
    while True:
        is_last = anyio.current_time() >= moment
        if await batch.look_up() or is_last:
            return
        await anyio.sleep(min(next(delays), max(0.0, moment - anyio.current_time())))


class UncertainCreation:
    """Finds out whether one batch was created.

    As long as nobody knows, its requests cannot go to another lane without the risk that they are paid for twice.
    """

    def __init__(self, upstream: UpstreamBatch, pending: PendingRequests, cutoff: Cutoff) -> None:
        self._upstream = upstream
        self._pending = pending
        self._cutoff = cutoff
        self._certain_at = 0.0

    async def find_again(self, source: EarlierBatch) -> bool:
        """Find a batch of the journal; False if it was never created.

        Raises:
            UpstreamError: if nobody knows, and no deadline is left for which to look on.
        """
        unknown: UpstreamError | None = None
        exists: bool | None = None
        try:
            exists = await find_again(self._upstream, source.record, source.idle_seconds)
        except UpstreamError as error:
            unknown = error
        if unknown is not None:
            exists = await self.exists()
            if exists is None:
                raise unknown
        if exists:
            self._upstream.emit_begin(events.BatchResumed)
        return bool(exists)

    async def exists(self) -> bool | None:
        """Look the batch up until it is known whether it exists, or until the last deadline of its requests: then None.

        Those who would rather pay twice are sent on when they must be. Cancelled: nothing has changed.
        """
        self._certain_at = anyio.current_time() + sum(LOOKUP_DELAYS)
        exists = await self._cutoff.until_payers_leave(self._look_on)
        if exists is False:
            self._upstream.phase = Phase.UPLOADING
        return exists

    async def _look_on(self) -> bool | None:
        delays = back_off()
        while (until := self._last_deadline()) > anyio.current_time():
            with anyio.CancelScope(deadline=until):
                is_certain = anyio.current_time() >= self._certain_at  # any server lists a new batch by then
                try:
                    if await self._upstream.look_up():
                        return True
                    if is_certain:
                        return False
                except UpstreamError:  # refused for long; it may be answered again
                    pass
                await anyio.sleep(next(delays))
        return None

    def _last_deadline(self) -> float:
        deadlines = (request.terms.deadline for _, request in self._pending.requests())
        last = max((deadline for deadline in deadlines if deadline is not None), default=-math.inf)
        return last + DISPATCHER_SECONDS
