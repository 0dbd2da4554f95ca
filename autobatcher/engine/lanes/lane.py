"""The lanes, which of them a user allows, and which of those a provider has. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from ...upstream.providers import ProviderProfile


class Lane(Enum):
    """A way to get an answer. They are listed from the cheapest to the dearest."""

    BATCH = "batch"
    """A line of a batch."""

    FLEX = "flex"
    """A single call with `service_tier="flex"`: cheaper, slower, and refused when there is no room."""

    REALTIME = "realtime"
    """A single call at full price."""


class Overrun(Enum):
    """What happens if it cannot be known in time whether a line was executed."""

    MISS = "miss"
    """The deadline is missed."""

    PAY_TWICE = "pay_twice"
    """The line goes to the next lane, and may be billed twice."""


_CHEAPEST_FIRST = tuple(Lane)
_EXAMPLE = '("batch", "flex", "realtime")'


def lanes_of(names: object, *, has_deadline: bool) -> tuple[Lane, ...]:
    """The lanes that a user allows, cheapest first.

    Args:
        names: lanes or their names, cheapest first; a text may list names with commas. Any lane may be left out, batch
            too. None means the batch lane, and with a deadline the flex lane as well.
        has_deadline: whether there is a deadline. It matters for None only.

    Raises:
        TypeError, ValueError: with the end of a sentence that begins with the name of the setting.
    """
    if names is None:
        return (Lane.BATCH, Lane.FLEX) if has_deadline else (Lane.BATCH,)
    if isinstance(names, str):
        names = names.split(",")
    if not isinstance(names, Iterable) or isinstance(names, bytes | set | frozenset):
        raise TypeError(f"must name lanes in their order, such as {_EXAMPLE}, not {names!r:.80}")
    lanes = tuple(_lane(name) for name in names)
    _check_order(lanes)
    return lanes


def checked_lanes(value: object) -> tuple[str, ...] | None:
    """Names of lanes, the cheapest first; None for the default."""
    return None if value is None else tuple(lane.value for lane in lanes_of(value, has_deadline=False))


def usable_lanes(allowed: Iterable[Lane], profile: ProviderProfile, endpoint: str) -> tuple[Lane, ...]:
    """Those of the allowed lanes that a provider has for an endpoint, in the same order."""
    return tuple(lane for lane in allowed if _has(profile, lane, endpoint))


def lack_of_flex(names: object, profile: ProviderProfile, *, has_deadline: bool) -> str | None:
    """A sentence that says so, if a user counts on the flex lane and the provider has none; else None.

    Args:
        names, has_deadline: see `lanes_of`.
    """
    lanes = lanes_of(names, has_deadline=has_deadline)
    if Lane.FLEX not in lanes or Lane.REALTIME in lanes or profile.flex_endpoints:
        return None
    used = '"batch" alone' if Lane.BATCH in lanes else "none"
    return (
        f'provider "{profile.name}" has no flex lane that is known, so {used} is used. '
        'Allow "realtime" at full price, or name a provider, or a profile whose flex_endpoints say otherwise.'
    )


def _has(profile: ProviderProfile, lane: Lane, endpoint: str) -> bool:
    if lane is Lane.BATCH:
        return endpoint in profile.endpoints
    return lane is Lane.REALTIME or endpoint in profile.flex_endpoints


def _lane(name: object) -> Lane:
    if isinstance(name, Lane):
        return name
    if isinstance(name, str) and (name := name.strip().lower()) in _NAMES:
        return _NAMES[name]
    raise ValueError(f"must name lanes of {', '.join(map(repr, _NAMES))}; {name!r:.80} is none")


_NAMES = {lane.value: lane for lane in Lane}


def _check_order(lanes: tuple[Lane, ...]) -> None:
    if not lanes:
        raise ValueError(f"must name at least one lane, such as {_EXAMPLE}")
    ranks = [_CHEAPEST_FIRST.index(lane) for lane in lanes]
    if len(set(ranks)) < len(ranks):
        raise ValueError(f"must name each lane once, unlike {_names(lanes)}")
    if ranks != sorted(ranks):
        ordered = sorted(lanes, key=_CHEAPEST_FIRST.index)
        raise ValueError(f"must name the cheapest lane first: {_names(ordered)}, not {_names(lanes)}")


def _names(lanes: Iterable[Lane]) -> str:
    return ", ".join(f'"{lane.value}"' for lane in lanes)
