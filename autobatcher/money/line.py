"""A line through what was observed, which fades. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from .estimate import Guess

HALF_LIFE_OBSERVATIONS = 500
"""After how many newer observations one counts half."""

FADING = 0.5 ** (1 / HALF_LIFE_OBSERVATIONS)
"""By which factor an observation counts less with each newer one."""

_STIFFNESS = 5.0
"""How many observations speak against a slope that is not the usual one."""

_MOST_TIMES = 4.0
"""How far the slope may lead away from the mean: outside of what was observed it is a bold guess."""

_PRIOR_WEIGHT = 2.0
_LEAST_ERROR = 0.01
_LARGEST_ERROR = 3.0


class Prior(NamedTuple):
    """What is assumed before anything is observed.

    Attributes:
        shared, own: relative errors; see `Guess`.
        is_proportional: whether y grows with x, or does not depend on it.
    """

    shared: float
    own: float
    is_proportional: bool

    def guess(self, expected: float) -> Guess:
        """A guess without observations."""
        return Guess(expected, expected * self.shared, expected * self.own)


class Line(msgspec.Struct, array_like=True):
    """How y depends on x: the straight line of the least squares, and how far off it was so far.

    Attributes:
        weight: how many observations there are; older ones count less.
        x, y, xx, xy: weighted sums.
        missed: the weighted sum of squared relative errors of earlier guesses.
    """

    weight: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    missed: float = 0.0

    def add(self, x: float, y: float, prior: Prior) -> None:
        """Add an observation, and let the older ones fade."""
        error = self._error(x, y, prior)
        self.weight = self.weight * FADING + 1.0
        self.x = self.x * FADING + x
        self.y = self.y * FADING + y
        self.xx = self.xx * FADING + x * x
        self.xy = self.xy * FADING + x * y
        self.missed = self.missed * FADING + error * error

    def guess(self, x: float, prior: Prior) -> Guess | None:
        """What y is to be expected; None if nothing was observed."""
        if not self.weight:
            return None
        expected = self._at(x, prior)
        own = math.sqrt((self.missed + _PRIOR_WEIGHT * prior.own**2) / (self.weight + _PRIOR_WEIGHT))
        shared = _LEAST_ERROR + own / math.sqrt(self.weight) + prior.shared / (1.0 + self.weight)
        return Guess(expected, expected * shared, expected * own)

    @property
    def is_sound(self) -> bool:
        """Whether these can be sums of observations."""
        sums = (self.weight, self.x, self.y, self.xx, self.xy, self.missed)
        return all(0 <= value < math.inf for value in sums)

    def _error(self, x: float, y: float, prior: Prior) -> float:
        """By which part of it the guess would have been wrong. Before the first observation there is none of ours."""
        if not self.weight:
            return 0.0
        expected = self._at(x, prior)
        return max(-_LARGEST_ERROR, min((y - expected) / max(expected, 1.0), _LARGEST_ERROR))

    def _at(self, x: float, prior: Prior) -> float:
        """The line at x."""
        mean_x, mean_y = self.x / self.weight, self.y / self.weight
        usual = mean_y / mean_x if prior.is_proportional and mean_x else 0.0
        spread = max(0.0, self.xx / self.weight - mean_x**2)
        covariance = self.xy / self.weight - mean_x * mean_y
        slope = usual
        if spread > 0:
            doubt = _STIFFNESS / self.weight
            slope = (covariance / spread + doubt * usual) / (1 + doubt)
        plain = mean_y + usual * (x - mean_x)
        return max(plain / _MOST_TIMES, min(mean_y + slope * (x - mean_x), plain * _MOST_TIMES))
