"""What one provider's models cost, by lane and completion window."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from ..upstream.price_note import PriceNote
from ..upstream.providers import ProviderProfile
from .given_prices import GivenPrices
from .library_prices import LibraryPrices
from .rates import Rates, UnknownPrice

REALTIME, FLEX, BATCH = "realtime", "flex", "batch"
PROVIDER = "provider"
"""The source of rates that a profile notes."""

PRICED_ENDPOINTS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"})
"""Endpoints that are billed by tokens alone. Images are billed by size and quality as well."""

_MOST_KEPT = 4096
"""Callers of a proxy choose the names of models."""


class PriceList:
    """What one provider's models cost, in USD, by lane and completion window.

    What the user gave comes first, then the provider's own notes, then genai-prices. A price that none of them has for
    that very lane is unknown: it is not guessed from the list price.

    Args:
        profile: the provider.
        base_url: by which genai-prices finds a provider that the profile does not name.
        given: what the user said.
        wall_clock: returns Unix seconds. Prices have dates.
    """

    def __init__(
        self,
        profile: ProviderProfile,
        base_url: str,
        given: GivenPrices | None,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._profile = profile
        self._given = given or GivenPrices({})
        self._library = LibraryPrices(profile.price_provider, base_url)
        self._wall_clock = wall_clock
        self._minute = 0
        self._found: dict[tuple[str, str, str | None, str], Rates | UnknownPrice] = {}

    def warm(self) -> None:
        """Import genai-prices, which may take a second. Without this the first lookup does it. Blocks."""
        self._library.warm()

    def rates(self, model: str, *, lane: str, completion_window: str | None, endpoint: str) -> Rates | None:
        """Return what a model's tokens cost; None if that is unknown.

        Args:
            model: as a request names it.
            lane: "batch", "flex" or "realtime".
            completion_window: the batch's, such as "24h"; None on the other lanes.
            endpoint: in OpenAI's spelling, such as "/v1/embeddings".
        """
        found = self.look_up(model, lane=lane, completion_window=completion_window, endpoint=endpoint)
        return found if isinstance(found, Rates) else None

    def list_rates(self, model: str, *, endpoint: str) -> Rates | None:
        """Return the list price, which is that of real time; None if it is unknown."""
        return self.rates(model, lane=REALTIME, completion_window=None, endpoint=endpoint)

    def models(self) -> list[str]:
        """Return the names of models of which anything is known. Patterns are left out."""
        noted = (name for note in self._profile.price_notes for name in note.models)
        names = {*self._given.models, *noted, *self._library.models()}
        return sorted(name for name in names if "*" not in name)

    def look_up(self, model: str, *, lane: str, completion_window: str | None, endpoint: str) -> Rates | UnknownPrice:
        """Return what `rates` returns, or why that is unknown."""
        minute = int(self._wall_clock() // 60)
        if minute != self._minute or len(self._found) >= _MOST_KEPT:
            self._minute, self._found = minute, {}
        key = (model, lane, completion_window, endpoint)
        if (found := self._found.get(key)) is None:
            found = self._found[key] = self._look_up(*key)
        return found

    def _look_up(self, model: str, lane: str, window: str | None, endpoint: str) -> Rates | UnknownPrice:
        if given := self._given.rates(model, lane, window):
            return given
        if endpoint not in PRICED_ENDPOINTS:
            return UnknownPrice(f"{endpoint} is not billed by tokens alone")
        if lane == FLEX and endpoint not in self._profile.flex_endpoints:
            return UnknownPrice(f"the profile {self._profile.name} has no flex for {endpoint}")
        if note := self._note(model, lane, window):
            return self._noted(note, model, endpoint)
        return self._library.rates(model, lane, endpoint, datetime.fromtimestamp(self._minute * 60, UTC))

    def _note(self, model: str, lane: str, window: str | None) -> PriceNote | None:
        for note in self._profile.price_notes:
            if note.is_for(model, lane, window):
                return note
        return None

    def _noted(self, note: PriceNote, model: str, endpoint: str) -> Rates | UnknownPrice:
        if note.discount is not None:
            listed = self._look_up(model, REALTIME, None, endpoint)
            if isinstance(listed, UnknownPrice):
                return listed
            detail = f"{note.source}; the list price from {listed.source}"
            return listed.less(note.discount, source=PROVIDER, as_of=note.as_of, detail=detail)
        assert note.input is not None
        assert note.output is not None
        return Rates(note.input, note.output, note.cached, (), PROVIDER, note.as_of, note.source)
