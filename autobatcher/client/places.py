"""Where a request waits, for servers that show it. Pure."""

from __future__ import annotations

from typing import NamedTuple

from ..engine.dispatch.lane_calls import LaneCalls
from ..engine.lanes.lane import Lane
from ..engine.queue.windows import ThrottledRequests, Window
from ..engine.request import Request


class Place(NamedTuple):
    """On which lane a request waits, and whether it is still in no batch and no call."""

    lane: str
    is_queued: bool


_QUEUES = (Window, ThrottledRequests)
_QUEUED, _IN_A_BATCH = Place(Lane.BATCH.value, is_queued=True), Place(Lane.BATCH.value, is_queued=False)


def place_of(request: Request) -> Place | None:
    """Where a request waits; None if it has an outcome, or was withdrawn."""
    holder = request.holder
    if holder is None:
        return None
    if isinstance(holder, _QUEUES):
        return _QUEUED
    if isinstance(holder, LaneCalls):
        return Place(holder.lane_of(request).value, is_queued=False)
    return _IN_A_BATCH  # or about to find one in a journal
