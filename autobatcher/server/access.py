"""Which routes need the proxy's key, and in which form. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from .exchange import RefusedError
from .keys import ProxyKey

OPEN_PATHS = frozenset({"/health", "/ready", "/openapi.json"})
"""Paths that need no key, for probes. All others do, in whatever spelling: Quart also finds `//v1/models` and absolute
URLs."""

STATUS_PATHS = frozenset({"/", "/status", "/metrics", "/receipt"})
"""What says how the proxy is. It names models and failures and tells what is spent, so it needs the key, too."""

_CHALLENGE = {"www-authenticate": 'Basic realm="autobatcher", charset="UTF-8"'}
"""Lets a browser ask for the key. On the page alone: what the page itself asks must not open a window."""


class Access:
    """Who may use which route.

    Args:
        proxy_key: the key that callers must have; None for no authentication.
        public_status: whether `STATUS_PATHS` need no key.
        also_open: further paths that need none.
    """

    def __init__(
        self, proxy_key: str | None, *, public_status: bool = False, also_open: frozenset[str] = frozenset()
    ) -> None:
        self._key = None if proxy_key is None else ProxyKey(proxy_key)
        self._open = OPEN_PATHS | also_open | (STATUS_PATHS if public_status else frozenset())

    def needs_key(self, path: str) -> bool:
        """Whether callers of this route are asked for a key."""
        return self._key is not None and path not in self._open

    def why_refused(self, path: str, authorization: str, address: str, now: float) -> RefusedError | None:
        """Why this caller is refused: 401 or 429; None if the route is open, or the key is right.

        Args:
            path: as the server read it.
            address: the peer's.
            now: seconds of a monotonic clock.
        """
        if self._key is None or path in self._open:
            return None
        return self._key.why_refused(authorization, address, now, as_password=path in STATUS_PATHS)


def challenge(refused: RefusedError, path: str) -> Mapping[str, str]:
    """The headers by which a browser asks its user for the key."""
    return _CHALLENGE if refused.status_code == 401 and path == "/" else {}
