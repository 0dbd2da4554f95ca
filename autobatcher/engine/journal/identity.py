"""By which a request is recognised after a restart: what is asked, of whom, and who pays. Pure."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit, urlunsplit

import msgspec

from ...upstream.account import Account


def fingerprint(account: Account) -> bytes:
    """Equal for accounts of equal base URL, credentials, headers and query; tells nothing of the credentials.

    A key that a function gives may be a new one each time, so such a function is known by its name.
    """
    key = _name_of(account.api_key) if callable(account.api_key) else account.api_key or ""
    headers = sorted((name.lower(), value) for name, value in account.headers)
    return _digest(
        b"autobatcher account", account.base_url.encode(), key.encode(), repr((headers, account.query)).encode()
    )


def _name_of(key_function: object) -> str:
    function = getattr(key_function, "__wrapped__", key_function)
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"function {named.__module__}.{named.__qualname__}"


def digest_of(endpoint: str, body: bytes, account: bytes) -> bytes:
    """Equal for equal requests of one account, however their JSON is written.

    Args:
        account: its fingerprint.
    """
    return _digest(account, endpoint.encode(), canonical(body))


def canonical(body: bytes) -> bytes:
    """The same bytes for the same JSON; what cannot be decoded stays as it is."""
    try:
        return _encode(_decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body


_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def without_credentials(base_url: str) -> str:
    """The URL as it may be told: with no user and no password in it."""
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def _digest(*parts: bytes) -> bytes:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d:%b" % (len(part), part))
    return whole.digest()
