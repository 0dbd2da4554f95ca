"""How long something that may take long can be left alone, by how long its like took. Pure.

Each look costs a call, and each wait makes the end that comes within it be seen late. For as much lateness in the mean,
the fewest looks are those whose chance to see the end is in inverse proportion to the wait before them. So waits are
long while an end is unlikely, and short when it is due.
"""

from __future__ import annotations

import math

from .spread import BUCKETS, GROWTH, SHORTEST_SECONDS, Curve, chance_of_longer

_EDGES = (0.0, *(SHORTEST_SECONDS * GROWTH**bucket for bucket in range(1, BUCKETS + 1)))


LATE_INTERVALS, MAX_INTERVALS = 2.4, 12.0
"""How late the end is seen, in the mean of all and in intervals; and how many there are between two looks at most.
Without such knowledge, the mean is two and a half."""


def quiet_seconds(curve: Curve, age: float, interval: float) -> float:
    """How long to wait before the next look, in seconds.

    Args:
        age: how long it has taken so far, in seconds.
        interval: how often it is looked at when its end is likely, in seconds.
    """
    left = chance_of_longer(curve, age)
    if left <= 0:
        return interval
    most_risk = left * (2 * LATE_INTERVALS * interval / _spread(curve)) ** 2
    wait, most = interval, MAX_INTERVALS * interval
    while wait < most and (longer := wait * GROWTH) * (left - chance_of_longer(curve, age + longer)) <= most_risk:
        wait = longer
    return min(wait, most)


def _spread(curve: Curve) -> float:
    """The integral of the root of what ends, times what is left: how many looks it takes. It is small if all take about
    as long."""
    steps = zip(curve, curve[1:], _EDGES, _EDGES[1:], strict=False)
    return math.fsum(math.sqrt(before * (before - after) * (until - since)) for before, after, since, until in steps)
