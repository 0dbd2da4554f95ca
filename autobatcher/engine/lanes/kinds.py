"""Kinds of batches and calls that take about equally long, and public figures for those that were never seen. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..checks import completion_window_seconds
from .lane import Lane
from .spread import LogNormal

Key = tuple[str, ...]

_MINUTE, _HOUR, _WEEK = 60.0, 3_600.0, 7 * 86_400.0
_LONGEST_NAME = 128

OBSERVED_BATCHES = LogNormal(median=7 * _MINUTE, ninetieth=_HOUR)
"""OpenRouter's figures for 230,000 batches (November 2026): half took less than 7 minutes, nine in ten less than an
hour. Sizes were mixed."""

FLEX_CALLS = LogNormal(median=30.0, ninetieth=3 * _MINUTE)
"""A guess: nobody publishes figures. OpenAI advises a timeout of 15 minutes for flex; this leaves one call in a hundred
beyond it."""

REALTIME_CALLS = LogNormal(median=5.0, ninetieth=30.0)
"""A guess, for answers of some length."""

_PROMISE_KEPT_WITHIN = 0.9
"""The share of a promised window in which nine batches in ten are taken to be done. Doubleword's server tries no line
again in the window's last 15 minutes (25 November 2026)."""


class BatchKind(NamedTuple):
    """Batches that take about equally long.

    Attributes:
        provider: the profile's name.
        model: the model; empty if unknown or mixed.
        size_class: the number of lines, in powers of ten.
        window: the completion window.
        is_promise: whether the provider sells several windows, and so this one by what it promises.
    """

    provider: str
    model: str
    size_class: int
    window: str
    is_promise: bool = False

    def levels(self) -> tuple[Key, ...]:
        """What observations are filed under, the most general first."""
        general = ("batch", clean(self.provider), clean(self.window))
        return general, (*general, clean(self.model), str(self.size_class))

    def expected(self) -> LogNormal:
        """What to expect of a provider of which nothing was seen.

        Who sells several windows uses the time that each leaves, so only the promise can be relied on. So it is with a
        window that is shorter than those of the public figures.
        """
        window = min(completion_window_seconds(self.window), _WEEK)  # "background" promises nothing
        if window >= 24 * _HOUR and not self.is_promise:
            return OBSERVED_BATCHES
        return LogNormal(median=max(window / 4, 1e-3), ninetieth=max(window * _PROMISE_KEPT_WITHIN, 2e-3))


class CallKind(NamedTuple):
    """Single calls that take about equally long.

    Attributes:
        provider: the profile's name.
        model: the model; empty if unknown.
        lane: the lane, which is not the batch lane.
    """

    provider: str
    model: str
    lane: Lane

    def levels(self) -> tuple[Key, ...]:
        """What observations are filed under, the most general first."""
        general = ("call", clean(self.provider), self.lane.value)
        return general, (*general, clean(self.model))

    def expected(self) -> LogNormal:
        """What to expect of a provider of which nothing was seen."""
        return FLEX_CALLS if self.lane is Lane.FLEX else REALTIME_CALLS


Kind = BatchKind | CallKind


def size_class(lines: int) -> int:
    """The class of a number of lines: 0 for less than ten, 1 for less than a hundred, and so on."""
    return int(math.log10(max(lines, 1)))


def clean(name: str) -> str:
    """A name as it can be stored: of bounded length, and without what is no Unicode."""
    return name[:_LONGEST_NAME].encode("utf-8", "replace").decode()
