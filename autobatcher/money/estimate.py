"""How many tokens requests will probably have. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

from .usage import Usage

_EIGHT_IN_TEN = 1.2816
"""How many standard deviations around the mean hold eight in ten."""


class Guess(NamedTuple):
    """A number of tokens, and how wrong it may be.

    Attributes:
        expected: the mean.
        shared: the standard deviation of an error that all requests of a kind share: it adds up.
        own: the standard deviation of errors that each request has for itself: in sums they cancel out.
    """

    expected: float = 0.0
    shared: float = 0.0
    own: float = 0.0

    def plus(self, other: Guess) -> Guess:
        """Return the sum of both."""
        return Guess(self.expected + other.expected, self.shared + other.shared, math.hypot(self.own, other.own))

    def at_most(self, most: float) -> Guess:
        """Return the guess for something that cannot be larger."""
        return Guess(min(self.expected, most), min(self.shared, most), min(self.own, most))

    @property
    def low(self) -> float:
        """One in ten is below."""
        return max(0.0, self.expected - _EIGHT_IN_TEN * math.hypot(self.shared, self.own))

    @property
    def high(self) -> float:
        """One in ten is above."""
        return self.expected + _EIGHT_IN_TEN * math.hypot(self.shared, self.own)


class Estimate(NamedTuple):
    """The tokens of a request, or of many together.

    Attributes:
        input, output: each with its band.
        cached_share: how much of the input is read from a cache, from 0 to 1.
        reasoning_share: how much of the output is reasoning, likewise.
        most: what the request cannot exceed, unless something is unknown. See `Calibration.most`.
        unknown: what is not counted, in words.
    """

    input: Guess = Guess()
    output: Guess = Guess()
    cached_share: float = 0.0
    reasoning_share: float = 0.0
    most: Usage = Usage()
    unknown: tuple[str, ...] = ()

    @property
    def expected(self) -> Usage:
        """What is most likely."""
        return self._usage(self.input.expected, self.output.expected)

    @property
    def low(self) -> Usage:
        """The lower end of the band: one in ten is below, for the input and for the output."""
        return self._usage(self.input.low, self.output.low)

    @property
    def high(self) -> Usage:
        """The upper end of the band: one in ten is above."""
        return self._usage(self.input.high, self.output.high)

    def plus(self, other: Estimate) -> Self:
        """Return both together."""
        read, written = self.input.plus(other.input), self.output.plus(other.output)
        return type(self)(
            read,
            written,
            _mean(self.cached_share, self.input, other.cached_share, other.input),
            _mean(self.reasoning_share, self.output, other.reasoning_share, other.output),
            self.most.plus(other.most),
            self.unknown if other.unknown == self.unknown else tuple(sorted({*self.unknown, *other.unknown})),
        )

    def _usage(self, read: float, written: float) -> Usage:
        read, written = min(round(read), self.most.input), min(round(written), self.most.output)
        return Usage(read, round(read * self.cached_share), written, round(written * self.reasoning_share))


def _mean(share: float, guess: Guess, other_share: float, other: Guess) -> float:
    """The share in both together."""
    whole = guess.expected + other.expected
    return (share * guess.expected + other_share * other.expected) / whole if whole else 0.0
