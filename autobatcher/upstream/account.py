"""Where a batch goes and who pays for it: base URL, credentials, provider profile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from .failures import UpstreamError
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

    def __hash__(self) -> int:
        """Asked for each request: not over all fields."""
        return hash((self.base_url, self.headers))

    async def request_headers(self) -> dict[str, str]:
        """The headers that authenticate one HTTP call now.

        Raises:
            UpstreamError: if the user's key function raises; a passing failure, since the next call asks it again.
        """
        key = await _call_key_function(self.api_key) if callable(self.api_key) else self.api_key
        bearer = {"authorization": f"Bearer {key}"} if key else {}
        given = {name.lower(): value for name, value in self.headers}
        return {**bearer, **{name: value for name, value in given.items() if name not in _BODY_HEADERS}}


# A user's defaults for these would contradict what a call really carries.
_BODY_HEADERS = frozenset({"accept", "content-length", "content-type", "transfer-encoding"})


async def _call_key_function(key_function: Callable[[], Awaitable[str]]) -> str:
    try:
        key = await key_function()
    except Exception as error:
        raise UpstreamError(f"the api_key function raised {type(error).__name__}") from error
    if not fits_a_header(key):
        raise UpstreamError("the api_key function gave a key that no HTTP header can hold", is_permanent=True)
    return key


def fits_a_header(value: str) -> bool:
    """Whether `value` can be sent in a header. What cannot be sent must not be tried: HTTP libraries log it."""
    return value.isascii() and (value.isprintable() or not value)
