"""How durations are spread: a small sketch of what was observed, and the curve of what to expect. Pure.

Durations fall into buckets that grow by a constant factor, from ten milliseconds to thirty days.

A *curve* is the chance that something still takes longer, at each edge of a bucket. It begins at 1 and ends at 0.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

GROWTH = 1.15
"""The factor from one bucket's edge to the next: durations are told apart if they differ by about 15 %."""

SHORTEST_SECONDS, LONGEST_SECONDS = 0.01, 30 * 86_400.0
BUCKETS = math.ceil(math.log(LONGEST_SECONDS / SHORTEST_SECONDS) / math.log(GROWTH))

HALF_LIFE_OBSERVATIONS = 50
"""After how many newer observations one counts half. Fewer would make the curve jumpy: these leave the chance of 90 %
uncertain by two or three per cent."""

_FADING = 0.5 ** (1 / HALF_LIFE_OBSERVATIONS)
_LEAST_WEIGHT = 0.001
_LOG_GROWTH, _LOG_SHORTEST = math.log(GROWTH), math.log(SHORTEST_SECONDS)

Curve = Sequence[float]


class LogNormal(NamedTuple):
    """A log-normal distribution, by what is published of it.

    Attributes:
        median: what half are below, in seconds.
        ninetieth: what nine in ten are below, in seconds.
    """

    median: float
    ninetieth: float


def chance_of_longer(curve: Curve, seconds: float) -> float:
    """The chance that something takes longer than these seconds."""
    position = _position(seconds)
    bucket = int(position)
    if bucket >= BUCKETS:
        return 0.0
    before, after = curve[bucket], curve[bucket + 1]
    return max(after, before + (after - before) * (position - bucket))


def seconds_at(curve: Curve, chance: float) -> float:
    """The seconds that something takes longer than with this chance."""
    chance = max(chance, 0.0)
    edge = bisect_left(curve, -chance, key=lambda value: -value)
    if edge == 0:
        return SHORTEST_SECONDS
    before, after = curve[edge - 1], curve[edge]
    return SHORTEST_SECONDS * math.exp(_LOG_GROWTH * (edge - 1 + (before - chance) / (before - after)))


@lru_cache(maxsize=128)
def log_normal_curve(spread: LogNormal) -> Curve:
    """The curve of a log-normal distribution."""
    deviation = math.log(spread.ninetieth / spread.median) / 1.2815515655446004  # the normal distribution's 90th
    edges = (_LOG_SHORTEST + bucket * _LOG_GROWTH for bucket in range(1, BUCKETS))
    inside = (0.5 * math.erfc((edge - math.log(spread.median)) / (deviation * math.sqrt(2))) for edge in edges)
    return (1.0, *inside, 0.0)


class Sketch:
    """What was observed of one kind, in bounded memory. Old observations fade.

    What was cut off before its end is an observation, too: it took at least so long.

    Attributes:
        done: the weight of what was done, by bucket.
        cut: the weight of what was cut off, by bucket.
    """

    __slots__ = ("_curve", "_prior", "cut", "done")

    def __init__(self, done: dict[int, float] | None = None, cut: dict[int, float] | None = None) -> None:
        self.done: dict[int, float] = {} if done is None else done
        self.cut: dict[int, float] = {} if cut is None else cut
        self._prior: Curve | None = None
        self._curve: Curve = ()

    def add(self, seconds: float, *, is_done: bool) -> None:
        """Add an observation, and let the older ones fade."""
        self.fade(_FADING)
        weights = self.done if is_done else self.cut
        bucket = min(int(_position(seconds)), BUCKETS - 1)
        weights[bucket] = weights.get(bucket, 0.0) + 1.0

    def fade(self, factor: float) -> None:
        """Let every observation count less by a factor, and forget those that hardly count."""
        self.done = _faded(self.done, factor)
        self.cut = _faded(self.cut, factor)
        self._prior = None

    def curve(self, prior: Curve, weight: float) -> Curve:
        """What to expect.

        Args:
            prior: what to expect without observations.
            weight: how many observations that counts for.
        """
        if self._prior is not prior:
            self._prior, self._curve = prior, self._estimated(prior, weight)
        return self._curve

    def _estimated(self, prior: Curve, weight: float) -> Curve:
        """The estimate of Susarla and Van Ryzin: Kaplan and Meier's, with the prior as so many more observations.

        In each bucket it asks: of those that came so far, how many ended here? What was cut off counts until then.
        """
        running = self._running()
        longer, curve = 1.0, [1.0]
        for bucket in range(BUCKETS - 1):
            ended = self.done.get(bucket, 0.0) + weight * (prior[bucket] - prior[bucket + 1])
            exposed = running[bucket] + weight * prior[bucket]
            longer *= 1 - min(1.0, ended / exposed) if exposed > 0 else 1.0
            curve.append(longer)
        return (*curve, 0.0)

    def _running(self) -> list[float]:
        """The weight of what lasted until a bucket or longer, for each bucket."""
        running, lasted = [0.0] * BUCKETS, 0.0
        for bucket in reversed(range(BUCKETS)):
            lasted += self.done.get(bucket, 0.0) + self.cut.get(bucket, 0.0)
            running[bucket] = lasted
        return running


def _faded(weights: dict[int, float], factor: float) -> dict[int, float]:
    return {bucket: faded for bucket, weight in weights.items() if (faded := weight * factor) >= _LEAST_WEIGHT}


def _position(seconds: float) -> float:
    """The bucket of a duration, with a fraction for where it is inside."""
    if not seconds > SHORTEST_SECONDS:
        return 0.0
    return min((math.log(seconds) - _LOG_SHORTEST) / _LOG_GROWTH, float(BUCKETS))
