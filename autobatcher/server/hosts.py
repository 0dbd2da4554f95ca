"""Which `Host` and which `Origin` a server answers. Pure, but for the ASGI wrapper at the end.

A page in a browser can send requests to servers on the reader's machine and network. By DNS rebinding (a name of the
page's own that resolves to 127.0.0.1) it can also read the answers. Such a request names the page's host in `Host`; any
other request of a page that could do harm names the page in `Origin` or is marked in `Sec-Fetch-Site`.

A refusal is a 403. For a wrong host HTTP also has 421, but browsers and gateways repeat a request after a 421.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..client.http_parts import HttpParts
from .authority import Authority, is_address, parse_authority, plain_host
from .browser_headers import with_headers
from .exchange import Exchange, Receive, RefusedError, Scope, Send
from .header_memory import kept, memory_of
from .refusals import refusal_parts

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

PROBES = frozenset({"/health", "/ready"})
"""Paths that orchestrators and load balancers ask for by the address of a pod, or without a `Host`."""

ANY_ORIGIN = "*"

PREFLIGHT_SECONDS = 600
"""How long a browser may remember the answer to a preflight."""


@dataclass(frozen=True, kw_only=True)
class ServedHosts:
    """Which hosts and origins are served. `served_hosts` makes one.

    Attributes:
        names: hosts that are always served, at any port.
        only_names: whether all others are refused, but for the address at which a connection arrived.
        is_loopback: whether only this machine can connect.
        origins: foreign origins whose pages are served; "*" for all.
    """

    names: frozenset[str]
    only_names: bool
    is_loopback: bool
    origins: frozenset[str] = frozenset()


def served_hosts(
    bind: str, *, is_loopback: bool, allowed_hosts: Iterable[str] = (), cors_origins: Iterable[str] = ()
) -> ServedHosts:
    """Decide which hosts and origins a server on `bind` serves.

    On loopback: `localhost`, `127.0.0.1`, `[::1]`, `bind` and `allowed_hosts`. Elsewhere the same if there are
    `allowed_hosts`. If there are none, every host: only the operator knows by which names a server is reached, so the
    key decides. Pages of other origins are refused everywhere, unless `cors_origins` has them.

    Args:
        bind: the address or name that the server listens on.
        is_loopback: whether only this machine can reach `bind`.
        allowed_hosts: names or addresses, without a port.
        cors_origins: origins such as "https://app.example", or "*".

    Raises:
        ValueError: something that is no host or no origin, naming it.
    """
    allowed = frozenset(_checked_host(host) for host in allowed_hosts)
    return ServedHosts(
        names=LOOPBACK_NAMES | allowed | {plain_host(bind)},
        only_names=is_loopback or bool(allowed),
        is_loopback=is_loopback,
        origins=frozenset(_checked_origin(origin) for origin in cors_origins),
    )


def _checked_host(host: str) -> str:
    authority = parse_authority(f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host)
    if authority is None or authority.port is not None:
        raise ValueError(f"{host!r} is no name or address of a host: write it as in proxy.example, without a port.")
    return authority.host


def _checked_origin(origin: str) -> str:
    scheme, separator, rest = origin.partition("://")
    is_scheme = bool(re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*", scheme))
    if origin != ANY_ORIGIN and not (is_scheme and separator and parse_authority(rest)):
        raise ValueError(f"{origin!r} is no origin: write it as in https://app.example, without a path, or as *.")
    return origin.lower()


# ---- one request ----


class Asked(NamedTuple):
    """What a request says of where it goes, and which page sends it. Header values are None if they are missing."""

    method: str
    path: str
    arrived_at: str
    hosts: tuple[str, ...]
    origin: str | None
    from_site: str | None
    mode: str | None
    wants_method: str | None
    wants_headers: str | None

    @property
    def is_preflight(self) -> bool:
        return self.method == "OPTIONS" and self.origin is not None and self.wants_method is not None


def asked_of(scope: Mapping[str, Any]) -> Asked:
    """Read an ASGI scope. HTTP/2's `:authority` is a `Host` there."""
    hosts, alone = kept(memory_of(scope), _read, scope["headers"])
    server = scope.get("server") or ("",)
    return Asked(
        method=scope["method"],
        path=scope["path"],
        arrived_at=plain_host(server[0]),
        hosts=hosts,
        origin=alone.get(b"origin"),
        from_site=alone.get(b"sec-fetch-site"),
        mode=alone.get(b"sec-fetch-mode"),
        wants_method=alone.get(b"access-control-request-method"),
        wants_headers=alone.get(b"access-control-request-headers"),
    )


def _read(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, ...], Mapping[bytes, str]]:
    """The hosts, and each header that says something of a page."""
    values: dict[bytes, list[str]] = {}
    for name, value in headers:
        if name in _READ:
            values.setdefault(name, []).append(value.decode("latin-1"))
    hosts = tuple(host for host in values.get(b"host", ()) if host)
    return hosts, {name: ", ".join(given) for name, given in values.items()}


_READ = frozenset(
    {
        b"host",
        b"origin",
        b"sec-fetch-site",
        b"sec-fetch-mode",
        b"access-control-request-method",
        b"access-control-request-headers",
    }
)


def why_refused(asked: Asked, served: ServedHosts, server: str = "proxy") -> RefusedError | None:
    """Why a request is refused; None if it is served."""
    if len(asked.hosts) > 1:
        return RefusedError(400, "Send one Host.", code="bad_host")
    authority = parse_authority(asked.hosts[0]) if asked.hosts else None
    if asked.hosts and authority is None:
        return RefusedError(400, "The Host of this request is no host name with an optional port.", code="bad_host")
    if not _is_host_served(authority, asked, served):
        return _host_refused(authority, server)
    return None if _is_page_served(authority, asked, served) else _page_refused(asked, server)


def _is_host_served(authority: Authority | None, asked: Asked, served: ServedHosts) -> bool:
    host = None if authority is None else authority.host
    if not served.only_names or host in served.names or (host and host == asked.arrived_at):
        return True
    # A page cannot make its own name an address, nor leave out the Host.
    return not served.is_loopback and asked.path in PROBES and (host is None or is_address(host))


def _host_refused(authority: Authority | None, server: str) -> RefusedError:
    if authority is None:
        message = f"This {server} serves only hosts that it knows, and this request names none. Send a Host."
    else:
        message = (
            f"This {server} does not serve the host {authority.host!r}: a page in a browser could have sent this. "
            "If you reach it by that name, for example through a reverse proxy, start it with "
            f"--allowed-host {authority.host}."
        )
    return RefusedError(403, message, code="host_not_allowed")


def _is_page_served(authority: Authority | None, asked: Asked, served: ServedHosts) -> bool:
    """Whether the page that sent this may, or no page did.

    Without an `Origin` browsers send what no page can read: navigations, images, scripts. They are harmless, but would
    still make the upstream work, so only navigations of other sites are served.
    """
    if asked.origin is not None:
        return _is_same_origin(asked.origin, authority) or allowed_origin(asked, served) is not None
    is_foreign = asked.from_site in ("cross-site", "same-site")
    return not is_foreign or asked.mode == "navigate" or ANY_ORIGIN in served.origins


_DEFAULT_PORTS = {"http": 80, "https": 443}


def _is_same_origin(origin: str, authority: Authority | None) -> bool:
    """Whether the page comes from this very server. A reverse proxy may have taken TLS off."""
    scheme, _, rest = origin.lower().partition("://")
    page = parse_authority(rest)
    if page is None or authority is None or scheme not in _DEFAULT_PORTS:
        return False
    default = _DEFAULT_PORTS[scheme]
    return page.host == authority.host and (page.port or default) == (authority.port or default)


def _page_refused(asked: Asked, server: str) -> RefusedError:
    page = asked.origin or "another site"
    message = f"This {server} does not serve the pages of {_shown(page)}. "
    if asked.origin in (None, "null"):
        hint = "Open it directly, or call it from a program."
    else:
        hint = f"If they are yours, start it with --cors-origin {_shown(page)}."
    return RefusedError(403, message + hint, code="origin_not_allowed")


def _shown(text: str) -> str:
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text[:200])


# ---- CORS ----

_EXPOSED = (
    b"x-request-id, x-autobatcher-batch-id, x-autobatcher-custom-id, x-autobatcher-lane, x-should-retry, retry-after"
)
_HEADER_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:, ?[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")


def allowed_origin(asked: Asked, served: ServedHosts) -> str | None:
    """The value of `Access-Control-Allow-Origin`; None if the page's origin is not allowed."""
    if asked.origin is None:
        return None
    if ANY_ORIGIN in served.origins:
        return ANY_ORIGIN
    return asked.origin if asked.origin.lower() in served.origins else None


def cors_headers(asked: Asked, served: ServedHosts) -> list[tuple[bytes, bytes]]:
    """The headers that let an allowed page read a response. Never credentials: the proxy knows no cookies."""
    if not served.origins:
        return []
    origin = allowed_origin(asked, served)
    varies = [] if ANY_ORIGIN in served.origins else [(b"vary", b"origin")]
    if origin is None:
        return varies
    return [
        *varies,
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", _EXPOSED),
    ]


def preflight_parts(asked: Asked) -> HttpParts:
    """The answer to an allowed preflight. `cors_headers` go with it."""
    headers = {"access-control-allow-methods": "GET, POST, DELETE", "access-control-max-age": str(PREFLIGHT_SECONDS)}
    if asked.wants_headers and _HEADER_NAMES.fullmatch(asked.wants_headers):
        headers["access-control-allow-headers"] = asked.wants_headers
    return {"status_code": 200, "headers": headers, "content": b""}


# ---- ASGI ----


class OnlyServedHosts:
    """ASGI: refuses what `served` does not have, and adds the headers that browsers obey to every response.

    Calling it returns the coroutine of `app`, so that a request that waits for hours costs no frame more.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], served: ServedHosts, server: str = "proxy") -> None:
        self._app = app
        self._served = served
        self._server = server

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        asked = asked_of(scope)
        refused = why_refused(asked, self._served, self._server)
        if refused is not None:
            return Exchange(scope, receive, with_headers(send, [])).refuse(refusal_parts(refused))
        send = with_headers(send, cors_headers(asked, self._served))
        if asked.is_preflight and allowed_origin(asked, self._served) is not None:
            return Exchange(scope, receive, send).refuse(preflight_parts(asked))
        return self._app(scope, receive, send)
