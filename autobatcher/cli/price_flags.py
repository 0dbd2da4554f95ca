"""The flags of commands that tell prices, and the provider and prices that they mean."""

from __future__ import annotations

import os
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
