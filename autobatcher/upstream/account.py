"""The upstream that a batch goes to, and the credentials that pay for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import NoReturn

from .failures import UpstreamError
from .key import key_mistake
from .providers import ProviderProfile


@dataclass(frozen=True, kw_only=True)
class Account:
    """An upstream and the credentials to use there. Requests of different accounts never share a batch.

    Attributes:
        base_url: without a trailing slash, such as "https://api.openai.com/v1".
        api_key: the bearer token, or an async function that returns a fresh one for each HTTP call; None for none.
        headers: sent with every call (organization, project, the user's default headers). They override `api_key`.
        query: sent with every call, such as Azure's api-version.
        other_secrets: masked like the credentials, wherever the upstream may have written them: a proxy's own key.
    """

    base_url: str
    provider: ProviderProfile
    api_key: str | Callable[[], Awaitable[str]] | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    other_secrets: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def __hash__(self) -> int:
        """Hash what differs between accounts: this runs once per request, and equal hashes are compared one by one."""
        try:
            return hash((self.base_url, self.api_key, self.headers))
        except TypeError:  # a key function that has no hash
            return hash((self.base_url, self.headers))

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Account cannot be pickled: it holds a key")

    async def request_headers(self) -> dict[str, str]:
        """Return the headers that authenticate one HTTP call.

        Raises:
            UpstreamError: if the user's key function raises (retryable, because the next call asks for a key again), is
                not async, or does not return a valid header value.
        """
        key = await _call_key_function(self.api_key) if callable(self.api_key) else self.api_key
        bearer = {"authorization": f"Bearer {key}"} if key else {}
        given = {name.lower(): value for name, value in self.headers}
        return {**bearer, **{name: value for name, value in given.items() if name not in _BODY_HEADERS}}


# Defaults for these would contradict the actual body of a call.
_BODY_HEADERS = frozenset({"accept", "content-length", "content-type", "transfer-encoding"})


async def _call_key_function(key_function: Callable[[], Awaitable[str]]) -> str:
    try:
        giving: object = key_function()
        key: object = await giving if isawaitable(giving) else giving
    except Exception as error:
        raise UpstreamError(f"the api_key function raised {type(error).__name__}") from error
    if not isawaitable(giving):
        raise UpstreamError("the api_key function is not async: it must be awaitable", is_permanent=True)
    if not isinstance(key, str):
        raise UpstreamError(f"the api_key function gave {type(key).__name__}, not text", is_permanent=True)
    if (mistake := key_mistake(key)) is not None:
        raise UpstreamError(f"the key that the api_key function gave {mistake}", is_permanent=True)
    return key
