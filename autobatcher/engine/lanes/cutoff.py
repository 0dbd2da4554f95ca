"""When to leave a lane, so that the next ones still have time. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..lane import Lane
from .durations import Durations
from .work import Work

CALL_SHARE = 0.9
"""The share of calls that are done in the time that a lane is given for each."""

HARVEST_SECONDS = 60.0
"""What lies between a batch that has ended and the next lane, in seconds: the poll that sees the end (30 s apart by
default), and reading both files (200 MB at 10 MB/s are 20 s)."""

HANDOVER_SECONDS = 5.0
"""What lies between a call that was cut off and the next lane, in seconds: closing its connection, and a new one."""


def cutoff(
    deadline: float, next_lanes: Sequence[Lane], work: Work, durations: Durations, *, started_at: float
) -> float | None:
    """When a batch must be cancelled, for the sake of its earliest deadline.

    It may be in the past: then it is time.

    Args:
        deadline: the earliest deadline in the batch, in seconds of any clock.
        next_lanes: the lanes that may be used after it, in their order.
        work: what the batch has not answered yet.
        durations: what is known of the next lanes.
        started_at: when the batch was begun, in seconds of the same clock.

    Returns:
        In seconds of the same clock. None if the batch must not be cut off: there is no next lane, or the next ones
        could not answer so much even if they had begun at once, so that nothing is gained.
    """
    needed = work.profile.cancel_seconds + HARVEST_SECONDS + _needed(next_lanes, work, durations)
    return None if not next_lanes or deadline - needed <= started_at else deadline - needed


def lane_cutoff(
    deadline: float, next_lanes: Sequence[Lane], work: Work, durations: Durations, *, started_at: float
) -> float | None:
    """When calls on the flex lane must be cut off, for the sake of their deadline. See `cutoff`.

    Args:
        deadline: their deadline, in seconds of any clock.
        next_lanes: the lanes that may be used after it, in their order.
        work: the calls that have no answer yet.
        durations: what is known of the next lanes.
        started_at: when they were begun, in seconds of the same clock.
    """
    needed = HANDOVER_SECONDS + _needed(next_lanes, work, durations)
    return None if not next_lanes or deadline - needed <= started_at else deadline - needed


def _needed(lanes: Sequence[Lane], work: Work, durations: Durations) -> float:
    """How many seconds the lanes need one after the other. Each may be left for the next at its end."""
    calls = math.fsum(durations.quantile(work.call_kind(lane), CALL_SHARE) for lane in lanes)
    return calls * work.rounds + HANDOVER_SECONDS * (len(lanes) - 1)
