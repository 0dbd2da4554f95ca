"""Where a batch goes and who pays for it: base URL, credentials, provider profile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from .providers import ProviderProfile


@dataclass(frozen=True, kw_only=True)
class Account:
    """One upstream and the credentials to use there. Requests of unequal accounts never share a batch.

    Attributes:
        base_url: without a slash at its end, such as "https://api.openai.com/v1".
        api_key: the bearer token, or an async function that gives a fresh one for each HTTP call; None for none.
        headers: sent with every call (organization, project, the user's default headers). They win over `api_key`.
        query: sent with every call (Azure's api-version, say).
    """

    base_url: str
    provider: ProviderProfile
    api_key: str | Callable[[], Awaitable[str]] | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    async def request_headers(self) -> dict[str, str]:
        """The headers that authenticate one HTTP call now. Raises whatever the user's own key function raises."""
        key = await self.api_key() if callable(self.api_key) else self.api_key
        bearer = {"authorization": f"Bearer {key}"} if key else {}
        return {**bearer, **{name.lower(): value for name, value in self.headers}}
