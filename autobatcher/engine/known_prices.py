"""The prices of the providers that one engine uses."""

from __future__ import annotations

from ..money.given_prices import GivenPrices
from ..money.price_list import PriceList
from ..upstream.account import Account
from ..upstream.providers import ProviderProfile, known_profile
from .journal.identity import without_credentials

MAX_URLS = 1_000
"""How many base URLs are remembered."""


class KnownPrices:
    """A price list for each provider, made when it is first asked for.

    Args:
        given: what the user said.
    """

    def __init__(self, given: GivenPrices | None) -> None:
        self._given = given
        self._lists: dict[tuple[str, str], PriceList] = {}
        self._profiles: dict[str, ProviderProfile] = {}
        self._urls: dict[str, str] = {}  # without credentials

    def of(self, account: Account) -> PriceList:
        """The prices at an account's provider."""
        return self.at(*self.where(account))

    def at(self, provider: str, base_url: str) -> PriceList:
        """The prices of a provider."""
        found = self._lists.get((provider, base_url))
        if found is None:
            profile = self._profiles.get(provider) or known_profile(provider)
            found = self._lists[provider, base_url] = PriceList(profile, base_url, self._given)
        return found

    def where(self, account: Account) -> tuple[str, str]:
        """The provider's name, and the base URL without a password."""
        url = self._urls.get(account.base_url)
        if url is None:
            if len(self._urls) >= MAX_URLS:
                self._urls.clear()
            url = self._urls[account.base_url] = without_credentials(account.base_url)
            self._profiles[account.provider.name] = account.provider
        return account.provider.name, url
