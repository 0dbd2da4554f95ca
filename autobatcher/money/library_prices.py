"""Prices from genai-prices, whose data comes with it. Nothing is downloaded."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .rates import Rates, Tier, UnknownPrice

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, PriceVariant, Provider

NOT_INSTALLED = "genai-prices is not installed: pip install 'autobatcher[money]>=1'"

_CONTEXTS: dict[str, dict[str, str]] = {
    "realtime": {},
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast"},
}
"""A lane, or a service tier of real time, in the words of genai-prices' `price_context`."""

_INPUT, _OUTPUT, _CACHED, _WRITTEN = "input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok"
_ONLY_IF_USED = re.compile(r"cache_write|web_searches|storage_searches|audio|image|video")
"""Prices of what a text request does not use, or only by a tool. With any other price, tokens do not explain a bill."""

_LONGEST_NAME = 200
"""In characters. Names come from callers, and are matched with patterns."""


def import_prices() -> None:
    """Import genai-prices, if it is there: it blocks for up to a second the first time, and only then."""
    LibraryPrices(None, "").warm()


def is_imported() -> bool:
    """Whether the library need not be imported any more. Without it there is nothing to import."""
    return "genai_prices" in sys.modules or find_spec("genai_prices") is None


class LibraryPrices:
    """The prices of one provider in genai-prices.

    Args:
        provider: its id there; None if it is found by its base URL.
        base_url: of the upstream.
    """

    def __init__(self, provider: str | None, base_url: str) -> None:
        self._wanted = provider
        self._base_url = base_url
        self._snapshot: DataSnapshot | None = None
        self._provider: Provider | None = None
        self._source = ""
        self._missing: UnknownPrice | None = None

    def warm(self) -> None:
        """Import the library. Blocks for up to a second, the first time."""
        if self._snapshot is not None or self._missing is not None:
            return
        try:
            from genai_prices import __version__
            from genai_prices.data_snapshot import get_snapshot
        except ImportError:
            self._missing = UnknownPrice(NOT_INSTALLED)
            return
        snapshot = get_snapshot()
        self._source = f"genai-prices {__version__}"
        self._provider = _provider_of(snapshot, self._wanted, self._base_url)
        self._snapshot = snapshot

    def models(self) -> list[str]:
        """Return the names of the provider's own models, if the library has the provider."""
        self.warm()
        return [model.id for model in self._provider.models] if self._provider is not None else []

    def rates(self, model: str, lane: str, endpoint: str, now: datetime) -> Rates | UnknownPrice:
        """Return what a model costs on a lane at that time, or why that is unknown."""
        self.warm()
        if self._missing is not None:
            return self._missing
        assert self._snapshot is not None
        provider = self._provider
        if provider is None:
            return UnknownPrice("genai-prices does not know this provider")
        found = provider.find_model(model, all_providers=self._snapshot.providers) if _is_name(model) else None
        if found is None or not found.prices:
            return UnknownPrice(f"genai-prices has no such model of {provider.id}")
        prices = _prices(found, provider, lane, now)
        if isinstance(prices, UnknownPrice):
            return prices
        as_of = _in_force_since(found, _CONTEXTS[lane], now)
        return _rates(prices, endpoint, self._source, as_of, f"{provider.id}: {found.id}")


def _is_name(model: str) -> bool:
    return 0 < len(model) <= _LONGEST_NAME


def _provider_of(snapshot: DataSnapshot, wanted: str | None, base_url: str) -> Provider | None:
    """By its id, and by nothing that resembles it; else by its base URL."""
    if wanted is not None:
        return next((each for each in snapshot.providers if each.id == wanted), None)
    url = _plain_url(base_url)
    return next((each for each in snapshot.providers if _is_at(each.api_pattern, url)), None)


def _plain_url(base_url: str) -> str:
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"


def _is_at(pattern: str, url: str) -> bool:
    """Whether a URL is a provider's. Patterns are prefixes, and api.openai.com.example.org is not OpenAI."""
    found = re.match(pattern, url)
    if found is None:
        return False
    rest = url[found.end() :]
    return not rest or rest[0] == "/" or found[0][-1:] in ("/", ".")


def _prices(model: ModelInfo, provider: Provider, lane: str, now: datetime) -> ModelPrice | UnknownPrice:
    """A model's prices on a lane.

    The library gives the list price, without a word, where it does not know the price of a lane. It knows it if it has
    a variant for that lane. A variant without prices says that the lane costs what the list says.
    """
    context = _CONTEXTS.get(lane)
    if context == {}:
        return model.get_prices(now)
    # A model that the provider resells has the prices of its maker there, whose other lanes are not the provider's.
    is_its_own = any(each is model for each in provider.models)
    if context is None or not is_its_own or not _variants(model, context, now):
        return UnknownPrice(f"genai-prices has no {lane} price of it")
    return model.get_prices(now, context)


def _variants(model: ModelInfo, context: Mapping[str, str], now: datetime) -> list[PriceVariant]:
    """What the library says of a lane at that time."""
    of_lane = (each for each in model.price_variants or () if each.when == context)
    return [each for each in of_lane if each.constraint is None or each.constraint.active(now)]


def _rates(prices: ModelPrice, endpoint: str, source: str, as_of: date | None, detail: str) -> Rates | UnknownPrice:
    said: dict[str, Any] = {key: price for key, price in vars(prices).items() if price is not None}
    for key in said.keys() - {_INPUT, _OUTPUT, _CACHED}:
        if not _ONLY_IF_USED.search(key):
            return UnknownPrice(f"it is not billed by tokens alone ({key})")
    if endpoint == "/v1/embeddings":
        said.setdefault(_OUTPUT, Decimal(0))
    if missing := [key for key in (_INPUT, _OUTPUT) if key not in said]:
        return UnknownPrice(f"genai-prices has no price of its {missing[0].partition('_')[0]} tokens")
    tiers = [Tier(over, *_at(said, over + 1)) for over in _thresholds(said)]
    read, written, cached, into_cache = _at(said, 0)
    return Rates(read, written, cached, tuple(tiers), source, as_of, detail, into_cache)


def _thresholds(said: Mapping[str, Any]) -> list[int]:
    """The numbers of input tokens above which any of the rates is another."""
    of_tokens = (said.get(key) for key in (_INPUT, _OUTPUT, _CACHED, _WRITTEN))
    return sorted({tier.start for price in of_tokens for tier in getattr(price, "tiers", ())})


def _at(said: Mapping[str, Any], request_input: int) -> tuple[Decimal, Decimal, Decimal | None, Decimal | None]:
    """Input, output, cached and written into the cache, for a request with so many input tokens."""
    cached, written = (
        None if said.get(key) is None else _price_at(said[key], request_input) for key in (_CACHED, _WRITTEN)
    )
    return _price_at(said[_INPUT], request_input), _price_at(said[_OUTPUT], request_input), cached, written


def _price_at(price: Any, request_input: int) -> Decimal:
    reached: Decimal = getattr(price, "base", price)
    for tier in getattr(price, "tiers", ()):
        if request_input > tier.start:
            reached = tier.price
    return reached


def _in_force_since(model: ModelInfo, context: Mapping[str, str], now: datetime) -> date | None:
    """The date of the prices that are in force, where the library has one."""
    conditional = model.prices if isinstance(model.prices, list) else []
    listed = [each for each in conditional if each.constraint is not None and each.constraint.active(now)]
    in_force = _variants(model, context, now) if context else listed
    dates: list[date | None] = [getattr(each.constraint, "start_date", None) for each in in_force]
    return max(filter(None, dates), default=None)
