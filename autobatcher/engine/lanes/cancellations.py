"""How long batches took to end after they were cancelled, by provider. Pure."""

from __future__ import annotations

import math

from ...upstream.providers import ProviderProfile
from .kinds import clean

RECENT = 20
"""How many cancellations of a provider are remembered."""

ENOUGH = 10
"""After how many of them they are believed instead of the provider's documents."""

MARGIN = 1.5
"""How much longer than the longest of them the next one may take. Of ten, one in eleven is longer than all before; this
leaves one in some dozens, if they are spread as widely as batches are."""

MAX_PROVIDERS = 64


class Cancellations:
    """The most recent cancellations of each provider.

    Attributes:
        recent: how long each took, in seconds, by the provider's name.
    """

    def __init__(self, recent: dict[str, list[float]] | None = None) -> None:
        """`recent` may come from a file: what cannot be a duration is left out."""
        self.recent: dict[str, list[float]] = {}
        for provider, seconds in (recent or {}).items():
            for each in seconds[-RECENT:]:
                self._add(provider, each)

    def __bool__(self) -> bool:
        """Whether any was observed."""
        return bool(self.recent)

    def record(self, provider: str, seconds: float) -> None:
        """One took so many seconds, from the first try to the poll that saw its end."""
        self._add(clean(provider), seconds)

    def expected_seconds(self, profile: ProviderProfile) -> float:
        """How long the next one may take: what the provider's documents say, until enough was seen."""
        recent = self.recent.get(clean(profile.name), [])
        longest = max(recent, default=0.0) * MARGIN
        return longest if len(recent) >= ENOUGH else max(longest, profile.cancel_seconds)

    def _add(self, provider: str, seconds: float) -> None:
        if not 0 <= seconds < math.inf:
            return
        self.recent[provider] = [*self.recent.pop(provider, []), seconds][-RECENT:]
        while len(self.recent) > MAX_PROVIDERS:
            del self.recent[next(iter(self.recent))]
