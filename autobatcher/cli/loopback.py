"""Addresses of this machine, which no HTTP proxy can reach."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server on `host`."""
    try:
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bypass_proxy(base_url: str | None) -> None:
    """Have this process and its children connect directly to a base URL on this machine, whatever HTTP_PROXY says."""
    host = urlsplit(base_url).hostname if base_url else None
    if host and is_loopback(host):
        os.environ.update(without_proxy(os.environ, host))


def without_proxy(environment: Mapping[str, str], host: str) -> dict[str, str]:
    """NO_PROXY and no_proxy with `host` added to what both of them have: programs read either spelling."""
    names = ("NO_PROXY", "no_proxy")
    listed = [entry.strip() for name in names for entry in environment.get(name, "").split(",")]
    hosts = ",".join(dict.fromkeys(entry for entry in [*listed, host] if entry))
    return dict.fromkeys(names, hosts)
