"""How a request is recognised after a restart: by its content, its upstream, and its account. Pure."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit, urlunsplit

import msgspec

from ...upstream.account import Account


def fingerprint(account: Account) -> bytes:
    """Hash an account: base URL, credentials, headers and query. Reveals no credentials.

    Key functions are identified by name, because they may return a new key each time.
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
    """Hash a request. Equal for equal JSON, however it is formatted.

    Args:
        account: the account's fingerprint.
    """
    return _digest(account, endpoint.encode(), canonical(body))


def canonical(body: bytes) -> bytes:
    """Return canonical bytes for JSON. Other input is returned as it is."""
    try:
        return _encode(_decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body


_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def without_credentials(base_url: str) -> str:
    """Return the URL without user, password, query and fragment."""
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def _digest(*parts: bytes) -> bytes:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d:%b" % (len(part), part))
    return whole.digest()
