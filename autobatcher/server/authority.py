"""Hosts and ports, as in `Host`, `:authority` and `Origin`, in one spelling each. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Authority:
    """A host and a port, as a browser understands them.

    Attributes:
        host: in lower case, without a trailing dot; an IPv6 address in its shortest form, without brackets.
        port: None if none is given.
    """

    host: str
    port: int | None


_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,62})"
_ADDRESS = r"\[(?P<address>(?=[0-9.]*[a-f:])[0-9a-f:.]{2,45})\]"
_NAME = rf"(?P<name>{_LABEL}(?:\.{_LABEL})*)\.?"
_AUTHORITY = re.compile(rf"(?:{_ADDRESS}|{_NAME})(?::(?P<port>[0-9]{{1,5}}))?")


@lru_cache(maxsize=256)
def parse_authority(text: str) -> Authority | None:
    """Parse `host` or `host:port`; None for anything else, such as userinfo, an IPv6 zone or port 0."""
    match = _AUTHORITY.fullmatch(text.lower()) if text.isascii() and len(text) <= 260 else None
    if match is None:
        return None
    host = match["name"] or plain_host(match["address"])
    port = None if match["port"] is None else int(match["port"])
    if (port is not None and not 1 <= port <= 65535) or (match["address"] and not is_address(host)):
        return None
    return Authority(host, port)


@lru_cache(maxsize=256)
def plain_host(host: str) -> str:
    """An address in its usual spelling, IPv4 as such where it is mapped into IPv6; a name in lower case."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])  # a zone is this machine's own affair
    except ValueError:
        return host.lower().removesuffix(".")
    return str(getattr(address, "ipv4_mapped", None) or address)


def is_address(host: str) -> bool:
    """Whether this host, in the spelling of `plain_host`, is an address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
