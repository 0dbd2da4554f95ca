"""The flags of commands that tell prices, and the provider and prices that they mean."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

from ..client.sdk import checked_profile
from ..money.given_prices import GivenPrices
from ..upstream.providers import ProviderProfile, profile_for
from .flags import UsageError

_OPENAI_URL = "https://api.openai.com/v1"


def usable_prices(
    provider: str | None, base_url: str | None, prices: Path | None
) -> tuple[ProviderProfile, str, GivenPrices]:
    """The provider, its base URL, and the user's own prices. Raises `UsageError`."""
    url = base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI_URL
    try:
        profile = checked_profile(provider) or profile_for(url)
        return profile, url, GivenPrices({}) if prices is None else GivenPrices.read(prices)
    except ValueError as error:
        raise UsageError(str(error)) from error


def flat_prices(input_price: float | None, output_price: float | None, saving: float) -> GivenPrices | None:
    """The same prices for all models, or None. Batches and flex cost less, by the fraction `saving`."""
    if input_price is None and output_price is None:
        return None
    listed = {"input": Decimal(str(input_price or 0)), "output": Decimal(str(output_price or 0))}
    less = {name: price * (1 - Decimal(str(saving))) for name, price in listed.items()}
    return GivenPrices({"*": {**listed, "batch": less, "flex": less}}, source="--input-price")
