"""Calls that are alike, for which a lane is looked for. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...upstream.providers import ProviderProfile
from .kinds import BatchKind, CallKind, size_class
from .lane import Lane


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """Calls of one model and endpoint.

    Attributes:
        profile: the provider.
        endpoint: the endpoint, in OpenAI's spelling.
        model: the model; empty if unknown or mixed.
        lines: how many calls.
        lane_concurrency: how many of them the flex and real-time lanes take at once.
        ahead: how many others wait for a turn on these lanes.
    """

    profile: ProviderProfile
    endpoint: str
    model: str
    lines: int = 1
    lane_concurrency: int = 32
    ahead: int = 0

    def batch_kind(self, window: str) -> BatchKind:
        """What its batch is to `Durations`, with this completion window."""
        is_promise = window in self.profile.priced_windows
        return BatchKind(self.profile.name, self.model, size_class(self.lines), window, is_promise)

    def call_kind(self, lane: Lane) -> CallKind:
        """What one of its calls is to `Durations`, on the flex or the real-time lane."""
        return CallKind(self.profile.name, self.model, lane)

    @property
    def rounds(self) -> int:
        """How many calls follow one another on the flex and real-time lanes."""
        return max(1, math.ceil((self.lines + self.ahead) / self.lane_concurrency))
