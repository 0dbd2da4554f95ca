"""The flags that say which hosts and origins a server answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from .flags import UsageError
from .loopback import is_loopback

if TYPE_CHECKING:
    from ..server import ServedHosts

Hosts = Annotated[list[str] | None, Parameter(negative=(), metavar="HOST", show_default=False)]
Origins = Annotated[list[str] | None, Parameter(negative=(), metavar="ORIGIN", show_default=False)]


def hosts_served(host: str, allowed_host: Hosts = None, cors_origin: Origins = None) -> ServedHosts:
    """What a server that listens on `host` answers. Raises `UsageError` for a flag that is no host or no origin."""
    from ..server import served_hosts  # here, because it is slow to import

    try:
        return served_hosts(
            host, is_loopback=is_loopback(host), allowed_hosts=allowed_host or (), cors_origins=cors_origin or ()
        )
    except ValueError as error:
        raise UsageError(f"--allowed-host or --cors-origin: {error}") from error
