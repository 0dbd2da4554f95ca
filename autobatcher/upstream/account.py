"""Where a batch goes and who pays for it: base URL, credentials, provider profile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from inspect import isawaitable

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
            UpstreamError: if the user's key function raises (retryable: the next call asks it again), is not async, or
                does not give text that is valid in a header.
        """
        key = await _asked(self.api_key) if callable(self.api_key) else self.api_key
        bearer = {"authorization": f"Bearer {key}"} if key else {}
        given = {name.lower(): value for name, value in self.headers}
        return {**bearer, **{name: value for name, value in given.items() if name not in _BELONG_TO_THE_BODY}}


# A user's defaults for these would contradict what a call really carries.
_BELONG_TO_THE_BODY = frozenset({"accept", "content-length", "content-type", "transfer-encoding"})


async def _asked(key_function: Callable[[], Awaitable[str]]) -> str:
    try:
        giving: object = key_function()
        key: object = await giving if isawaitable(giving) else giving
    except Exception as error:
        raise UpstreamError(f"the api_key function raised {type(error).__name__}") from error
    if not isawaitable(giving):
        raise UpstreamError("the api_key function is not async: it must be awaitable", is_hopeless=True)
    if not isinstance(key, str):
        raise UpstreamError(f"the api_key function gave {type(key).__name__}, not text", is_hopeless=True)
    if not fits_a_header(key):
        raise UpstreamError("the api_key function gave a key that is not valid in a header", is_hopeless=True)
    return key


def fits_a_header(value: str) -> bool:
    """Whether `value` is valid in a header. HTTP libraries log values that are not, so they must not be tried."""
    return value.isascii() and (value.isprintable() or not value)
