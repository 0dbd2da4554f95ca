"""When to leave a lane, so that the next ones still have time. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .durations import Durations
from .kinds import BatchKind, Kind
from .lane import Lane, usable_lanes
from .work import Work

LEAST_CHANCE = 0.9
"""A lane is taken if the chance that it is done by its cutoff is at least this. Less would cancel one batch in ten or
more, and what a cancelled batch has finished too late is paid and waited for."""

BARGAIN_CHANCE = 0.5
"""The same for a batch, if the only other lane that is fast enough is dearer, and has time even after the cutoff. A
line that is cut off costs what it would have cost anyway, and each that is done costs less. Below this, cancellations
abound, and little is gained: nothing at OpenAI, a few per cent at Doubleword (benchmarks/deadlines.py)."""

UNAIDED_CHANCE = 0.99
"""The same for a lane that is not left for the next one, since it would have to be left too early. No other lane makes
up for a miss there."""

EARLIER_SHARE = 0.8
"""The share of calls that are done in the time that is given to each but the last, where calls follow one another. That
time is a little above the mean of durations as skewed as these (log-normal, nine in ten below six times the median)."""

HARVEST_SECONDS = 120.0
"""What lies between a batch that has ended and the next lane, in seconds: the poll that sees the end (20 s apart after
a cutoff), reading both files (200 MB at 10 MB/s are 20 s), and reading them again for a minute where neither names the
lines that were not executed (Doubleword), since one of them may have been paid."""

HANDOVER_SECONDS = 5.0
"""What lies between a call that was cut off and the next lane, in seconds: closing its connection, and a new one."""


def cutoff(
    deadline: float, next_lanes: Sequence[Lane], work: Work, durations: Durations, *, kind: Kind, started_at: float
) -> float | None:
    """When a batch must be cancelled, or a flex call cut off, for the sake of its deadline.

    Args:
        deadline: the earliest deadline in the batch, or that of the call, in seconds of any clock.
        next_lanes: the lanes that may be used after it, in their order, as far as the provider has them.
        work: what has no answer yet.
        durations: what is known of batches and calls.
        kind: the kind of the batch, as it was when it began, or of the call.
        started_at: when it began, in seconds of the same clock.

    Returns:
        In seconds of the same clock; if it has passed, it is time. None if there is none: there is no next lane, or the
        next ones could not answer so much even if they had begun at once, or a cancellation takes so long that it is
        better to wait for a batch that is almost certainly done by its deadline.
    """
    next_lanes = usable_lanes(next_lanes, work.profile, work.endpoint)
    if not next_lanes:
        return None
    until = deadline - seconds_to_leave(kind, work, durations) - _needed(next_lanes, work, durations)
    if until - seconds_of_all(kind, LEAST_CHANCE, work, durations) >= started_at:
        return until
    is_certain = deadline - seconds_of_all(kind, UNAIDED_CHANCE, work, durations) >= started_at
    return None if is_certain or until <= started_at else until


def seconds_of_all(kind: Kind, share: float, work: Work, durations: Durations) -> float:
    """Within how many seconds all of it is done with this chance (0 to 1), in a batch or in calls of this kind."""
    return _earlier_rounds(kind, work, durations) + durations.quantile(kind, share)


def chance_of_one(kind: Kind, seconds: float, work: Work, durations: Durations) -> float:
    """The chance that one of them, in the middle of the queue, is done within these seconds."""
    return durations.chance(kind, seconds - _earlier_rounds(kind, work, durations) / 2)


def _earlier_rounds(kind: Kind, work: Work, durations: Durations) -> float:
    """How many seconds pass until the last calls begin."""
    if isinstance(kind, BatchKind) or work.rounds == 1:
        return 0.0
    return (work.rounds - 1) * durations.quantile(kind, EARLIER_SHARE)


def seconds_to_leave(kind: Kind, work: Work, durations: Durations) -> float:
    """How many seconds pass from a cutoff to the next lane."""
    if not isinstance(kind, BatchKind):
        return HANDOVER_SECONDS
    return durations.cancellations.expected_seconds(work.profile) + HARVEST_SECONDS


def _needed(lanes: Sequence[Lane], work: Work, durations: Durations) -> float:
    """How many seconds the lanes need one after the other. Each may be left for the next at its end."""
    kinds = (work.call_kind(lane) for lane in lanes)
    calls = math.fsum(seconds_of_all(kind, LEAST_CHANCE, work, durations) for kind in kinds)
    return calls + HANDOVER_SECONDS * (len(lanes) - 1)
