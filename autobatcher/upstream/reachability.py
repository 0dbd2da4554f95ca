"""Where a call went that did not get there, and what of the environment is in its way. Reads environment variables."""

from __future__ import annotations

import os
import ssl
from typing import Any
from urllib.request import getproxies_environment, proxy_bypass


def certificates_mistake() -> str | None:
    """What is wrong with the file that SSL_CERT_FILE names; None if it can be used."""
    path = os.environ.get("SSL_CERT_FILE")
    if not path:
        return None
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        return f"SSL_CERT_FILE={path} has no certificates: it must be a file in PEM format"
    except OSError as error:
        return f"SSL_CERT_FILE={path} cannot be read: {error.strerror or error}"
    return None


def place_called(error: Exception) -> str:
    """The host and the port that a call could not be connected to, and a proxy that is set; "" if nobody knows.

    Args:
        error: of an HTTP client.
    """
    try:
        url: Any = error.request.url  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):
        return ""
    place = f"no connection to {url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
    proxy = _proxy_for(url.scheme, url.host)
    return f"{place}, with the proxy {proxy}" if proxy else place


def _proxy_for(scheme: str, host: str) -> str | None:
    """The host and the port of a proxy, without its password, and the variable that names it.

    Where variables are set, `proxy_bypass` does not ask the system, which may resolve names in the event loop.
    """
    proxies = getproxies_environment()
    kind = next((kind for kind in (scheme, "all") if proxies.get(kind)), None)
    if kind is None or proxy_bypass(host):
        return None
    place = proxies[kind].rpartition("://")[2].partition("/")[0].rpartition("@")[2]
    return f"{place} ({kind.upper()}_PROXY)"
