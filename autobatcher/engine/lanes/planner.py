"""Which lane requests take first, given by when they are needed. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...errors import UnbatchableRequestError
from ..lane import Lane, usable_lanes
from .cutoff import cutoff, lane_cutoff
from .durations import Durations
from .work import Work

LEAST_CHANCE = 0.9
"""A lane is taken if the chance that it is done by its cutoff is at least this. Less would cancel one batch in ten or
more, and what a cancelled batch has finished too late is paid and waited for."""

UNAIDED_CHANCE = 0.99
"""The same for a lane that cannot be left in time for the next one, as when cancelling takes longer than there is. No
other lane makes up for a miss there."""

BEST_SHARE = 0.01
"""The share of batches and calls whose time counts as the best possible."""

DEFAULT_WINDOW = "24h"
"""The completion window where none is asked for and the provider has one price: every provider takes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How requests start.

    Attributes:
        lane: the first lane.
        completion_window: the window of their batch; None on other lanes.
        chance: the chance that the lane is done in time, from 0 to 1; 1 without a deadline.
        latest_start_seconds: how long they may wait before they start, in seconds from now; 0 if they are late already,
            infinite without a deadline.
    """

    lane: Lane
    completion_window: str | None = None
    chance: float = 1.0
    latest_start_seconds: float = math.inf


def plan(
    seconds_left: float | None,
    allowed: Sequence[Lane],
    work: Work,
    durations: Durations,
    *,
    completion_window: str | None = None,
) -> Plan:
    """The cheapest allowed lane that is probably done in time. If none is, the one with the best chance.

    Args:
        seconds_left: from now to the deadline, in seconds; None if there is none.
        allowed: the lanes that may be used, cheapest first.
        work: the requests; those that are expected to travel together.
        durations: what is known of batches and calls.
        completion_window: the only completion window that a batch may have; None if all may be taken that the provider
            sells.

    Raises:
        UnbatchableRequestError: if the provider has none of the lanes for this endpoint.
    """
    lanes = _usable(allowed, work)
    if seconds_left is None:
        return Plan(lane=lanes[0], completion_window=_windows(lanes[0], work, completion_window)[0])
    options = []
    for rank, lane in enumerate(lanes):
        for window in _windows(lane, work, completion_window):
            options.append(_option(lane, window, seconds_left, lanes[rank + 1 :], work, durations))
            if options[-1].is_safe:
                return options[-1].plan
    return max((option.plan for option in options), key=lambda plan: plan.chance)


def least_seconds(
    allowed: Sequence[Lane], work: Work, durations: Durations, *, completion_window: str | None = None
) -> float:
    """What the allowed lanes need at best, in seconds. A deadline below that cannot be kept.

    Args:
        allowed: the lanes that may be used.
        work: the requests.
        durations: what is known of batches and calls.
        completion_window: the only completion window that a batch may have; None if all may be taken.

    Raises:
        UnbatchableRequestError: if the provider has none of the lanes for this endpoint.
    """
    kinds = (
        work.call_kind(lane) if window is None else work.batch_kind(window)
        for lane in _usable(allowed, work)
        for window in _windows(lane, work, completion_window)
    )
    return min(durations.quantile(kind, BEST_SHARE) for kind in kinds)


def _usable(allowed: Sequence[Lane], work: Work) -> tuple[Lane, ...]:
    if lanes := usable_lanes(allowed, work.profile, work.endpoint):
        return lanes
    names = " and ".join(f'"{lane.value}"' for lane in allowed)
    raise UnbatchableRequestError(
        f"Provider {work.profile.name!r} has no lane {names} for {work.endpoint}. Allow another one, such as "
        '"realtime" at full price, with lanes=.'
    )


def _windows(lane: Lane, work: Work, explicit: str | None) -> tuple[str | None, ...]:
    """The completion windows to choose from, cheapest first; None alone for a lane that has none."""
    if lane is not Lane.BATCH:
        return (None,)
    return (explicit,) if explicit is not None else work.profile.priced_windows or (DEFAULT_WINDOW,)


class _Option(NamedTuple):
    """What would become of the requests on one lane, and whether that is good enough."""

    plan: Plan
    is_safe: bool


def _option(
    lane: Lane, window: str | None, seconds_left: float, next_lanes: Sequence[Lane], work: Work, durations: Durations
) -> _Option:
    leave = lane_cutoff if window is None else cutoff
    until = leave(seconds_left, next_lanes, work, durations, started_at=0.0)
    least = UNAIDED_CHANCE if next_lanes and until is None else LEAST_CHANCE
    until = seconds_left if until is None else until
    kind, rounds = (work.call_kind(lane), work.rounds) if window is None else (work.batch_kind(window), 1)
    chance = durations.chance(kind, until / rounds)
    latest_start = max(0.0, until - durations.quantile(kind, least) * rounds)
    plan = Plan(lane=lane, completion_window=window, chance=chance, latest_start_seconds=latest_start)
    return _Option(plan, chance >= least)
