"""How a request is recognised after a restart: by its content, its upstream, and its account. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from ...upstream.account import Account
from ..digest import digest_of, digest_of_parts

__all__ = ["digest_of", "fingerprint", "without_credentials"]


def fingerprint(account: Account) -> bytes:
    """Hash an account: base URL, credentials, headers and query. Reveals no credentials.

    Key functions are identified by name, because they may return a new key each time.
    """
    key = _name_of(account.api_key) if callable(account.api_key) else account.api_key or ""
    headers = sorted((name.lower(), value) for name, value in account.headers)
    return digest_of_parts(
        b"autobatcher account", account.base_url.encode(), key.encode(), repr((headers, account.query)).encode()
    )


def _name_of(key_function: object) -> str:
    function = getattr(key_function, "__wrapped__", key_function)
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"function {named.__module__}.{named.__qualname__}"


def without_credentials(base_url: str) -> str:
    """Return the URL without user, password, query and fragment."""
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
