"""Keys of callers: how one is sent, whether it is the proxy's key, and how wrong ones are slowed down.

A right key is always served at once, also from an address that guesses: all callers behind a reverse proxy share one.
So a guess is compared before it is counted, and whether it is served says whether it was right. No limit can hide that.
What a limit can do is make guesses dear: beyond the allowance a guess is answered 429 with `Retry-After` and costs its
connection, and the log says from where they come. It is not made to wait, because each waiting guess would hold memory
and a connection. What keeps a key safe is its length: see `is_guessable`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import logging
import math
from collections import OrderedDict

from .exchange import RefusedError

logger: logging.Logger = logging.getLogger("autobatcher")

BURST, PER_SECOND = 10.0, 1 / 6
"""Wrong keys of one address that are answered 401: ten at once, ten a minute."""

BURST_OF_ALL, PER_SECOND_OF_ALL = 100.0, 2.0
"""The same for all addresses together."""

MOST_ADDRESSES = 1_000
"""Addresses remembered, the latest ones. Beyond them only the allowance of all addresses counts."""

TOLD_SECONDS = 60.0
"""Interval between log lines on wrong keys."""

LEAST_KEY_LENGTH = 16
"""16 random hexadecimal digits take 300 million years at 1,000 guesses a second."""


def bearer_in(authorization: str) -> str | None:
    """The bearer token of an Authorization header; None if there is none."""
    kind, _, token = authorization.partition(" ")
    return (token.strip() or None) if kind.lower() == "bearer" else None


def password_in(authorization: str) -> str | None:
    """The password of HTTP Basic authentication, by which browsers send a key; None if there is none."""
    kind, _, encoded = authorization.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:
        return None
    return text.partition(":")[2] or None


def bearer_of(authorization: str) -> str:
    """The caller's own key. Raises `RefusedError` (401) if there is none."""
    key = bearer_in(authorization)
    if key is None:
        message = "This proxy uses its callers' own keys: send yours as a bearer token (OPENAI_API_KEY)."
        raise RefusedError(401, message, code="missing_api_key")
    return key


def is_guessable(key: str) -> bool:
    """Whether a key is so short that guessing it is worth a try."""
    return len(key) < LEAST_KEY_LENGTH


_WRONG_KEY = RefusedError(
    401,
    "This proxy requires its own key: set OPENAI_API_KEY to the value of its --proxy-key.",
    code="invalid_api_key",
)
_WRONG_PASSWORD = RefusedError(
    401,
    "This page requires the proxy's key: as the password, with any user name, or as a bearer token.",
    code="invalid_api_key",
)


class ProxyKey:
    """The key that callers must have, and the memory of wrong ones."""

    def __init__(self, key: str) -> None:
        self._digest = _digest(key)
        self._wrong = WrongKeys()
        self._told_at = -math.inf

    def why_refused(
        self, authorization: str, address: str, now: float, *, as_password: bool = False
    ) -> RefusedError | None:
        """Why this caller is refused: 401 or 429; None if the key is right.

        Args:
            address: the peer's.
            now: seconds of a monotonic clock.
            as_password: whether the key may also come as a password, which browsers send with every request that any
                site makes them send: for what only reads.
        """
        given = bearer_in(authorization)
        if given is None and as_password:
            given = password_in(authorization)
        if given is not None and hmac.compare_digest(_digest(given), self._digest):
            return None
        seconds = self._wrong.count(address, now) if authorization else 0.0  # without a key nothing is guessed
        if seconds <= 0:
            return _WRONG_PASSWORD if as_password else _WRONG_KEY
        if now - self._told_at >= TOLD_SECONDS:
            self._told_at = now
            logger.warning("autobatcher: many wrong keys, the last one from %s: answered with 429", address)
        message = (
            "Too many wrong keys. This proxy requires its own key: set OPENAI_API_KEY to the value of --proxy-key."
        )
        return RefusedError(429, message, code="too_many_wrong_keys", retry_after=math.ceil(seconds))


def _digest(key: str) -> bytes:
    """Keys are compared by digest: in constant time, whatever their lengths and letters."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


class WrongKeys:
    """Counts wrong keys, of each address and of all together, in bounded memory. Pure."""

    def __init__(self) -> None:
        self._by_address: OrderedDict[str, _Allowance] = OrderedDict()
        self._of_all = _Allowance(BURST_OF_ALL, PER_SECOND_OF_ALL)

    def count(self, address: str, now: float) -> float:
        """Count one. Returns 0 within the allowance, else the seconds until the next one is."""
        network = _network(address)
        allowance = self._by_address.pop(network, None) or _Allowance(BURST, PER_SECOND)
        self._by_address[network] = allowance
        if len(self._by_address) > MOST_ADDRESSES:
            self._by_address.popitem(last=False)
        return allowance.take(now) or self._of_all.take(now)


class _Allowance:
    """A token bucket."""

    __slots__ = ("_at", "_burst", "_left", "_per_second")

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst, self._per_second = burst, per_second
        self._left, self._at = burst, -math.inf

    def take(self, now: float) -> float:
        """Take one. Returns 0, or the seconds until there is one."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self._per_second
        self._left -= 1
        return 0.0


def _network(address: str) -> str:
    """An IPv4 address as it is; of an IPv6 address the half that one customer does not choose."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.IPv6Network((parsed, 64), strict=False))
