"""Which lane requests take first, given by when they are needed. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import UnbatchableRequestError
from .cutoff import LEAST_CHANCE, UNAIDED_CHANCE, chance_of_one, cutoff, seconds_of_all
from .durations import Durations
from .lane import Lane, usable_lanes
from .work import Work

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
        chance: the chance (0 to 1) of one in the middle of the queue to be done by the lane's cutoff, or by the
            deadline if the lane has none.
        is_safe: whether it is good enough for all of them. If not, no allowed lane is better.
        latest_start_seconds: how long they may wait before they start, in seconds from now; 0 if they are late already,
            infinite without a deadline.
    """

    lane: Lane
    completion_window: str | None = None
    chance: float = 1.0
    is_safe: bool = True
    latest_start_seconds: float = math.inf


def plan(
    seconds_left: float | None,
    allowed: Sequence[Lane],
    work: Work,
    durations: Durations,
    *,
    completion_window: str | None = None,
    least_chance: float = LEAST_CHANCE,
) -> Plan:
    """The cheapest allowed lane that is probably done in time. If none is, the one with the best chance.

    Args:
        seconds_left: from now to the deadline, in seconds; None if there is none.
        allowed: the lanes that may be used, cheapest first.
        work: the requests; those that are expected to travel together.
        durations: what is known of batches and calls.
        completion_window: the only completion window that a batch may have; None if all may be taken that the provider
            sells.
        least_chance: the chance (0 to 1) to be done by its cutoff that is good enough for a lane.

    Raises:
        UnbatchableRequestError: if the provider has none of the lanes for this endpoint.
    """
    lanes = _usable(allowed, work)
    if seconds_left is None:
        return Plan(lane=lanes[0], completion_window=_windows(lanes[0], work, completion_window)[0])
    plans = []
    for rank, lane in enumerate(lanes):
        for window in _windows(lane, work, completion_window):
            plans.append(_on(lane, window, seconds_left, lanes[rank + 1 :], work, durations, least_chance))
            if plans[-1].is_safe:
                return plans[-1]
    return max(plans, key=lambda plan: plan.chance)


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
        '"realtime" at full price (`lanes`; serve and run: --lanes).'
    )


def _windows(lane: Lane, work: Work, explicit: str | None) -> tuple[str | None, ...]:
    """The completion windows to choose from, cheapest first; None alone for a lane that has none."""
    if lane is not Lane.BATCH:
        return (None,)
    return (explicit,) if explicit is not None else work.profile.priced_windows or (DEFAULT_WINDOW,)


def _on(
    lane: Lane,
    window: str | None,
    seconds_left: float,
    next_lanes: Sequence[Lane],
    work: Work,
    durations: Durations,
    least_chance: float,
) -> Plan:
    """What becomes of the requests on one lane."""
    kind = work.call_kind(lane) if window is None else work.batch_kind(window)
    until = cutoff(seconds_left, next_lanes, work, durations, kind=kind, started_at=0.0)
    if until is None:
        least_chance = UNAIDED_CHANCE if next_lanes else LEAST_CHANCE
    until = seconds_left if until is None else until
    spare = until - seconds_of_all(kind, least_chance, work, durations)
    return Plan(
        lane=lane,
        completion_window=window,
        chance=chance_of_one(kind, until, work, durations),
        is_safe=spare >= 0,
        latest_start_seconds=max(0.0, spare),
    )
