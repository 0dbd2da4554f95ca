"""Which redirects of an upstream are followed. Pure.

The upstream is a stranger: it may send us anywhere, but not with the key, and not with the prompts. Elsewhere only the
content of a file is fetched, as from the storage behind a provider.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .decompression import ACCEPTED
from .failures import UpstreamError

MAX_REDIRECTS = 5
"""For one call. Providers need one or two."""

_MOVED = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD = frozenset({307, 308})
"""The only redirects of a POST that keep it a POST."""

_NOT_ALONE = "the key and the prompts would go along; check base_url"
_NO_HTTPS = "files are fetched by https only"

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Hop:
    """Where a request goes.

    Attributes:
        url: of the HTTP library of the request.
        is_foreign: whether it has left the upstream's origin, so that nothing of ours goes along, ever after.
        number: how many redirects led there.
    """

    url: Any
    is_foreign: bool = False
    number: int = 0


def is_redirect(response: Any) -> bool:
    """Whether an HTTP response sends its request elsewhere."""
    return response.status_code in _MOVED and "location" in response.headers


def next_hop(operation: str, method: str, hop: Hop, response: Any, *, may_leave: bool) -> Hop:
    """Where a redirect leads.

    Args:
        may_leave: whether another https host will do.

    Raises:
        UpstreamError: if it is not followed. It is permanent: the next try would be redirected, too.
    """
    status, whither = response.status_code, f"{operation} was redirected"
    if method != "GET" and status not in _SAME_METHOD:
        raise _refusal(f"{whither} with status {status}, which would make it a GET; check base_url", status)
    if hop.number >= MAX_REDIRECTS:
        raise _refusal(f"{whither} more than {MAX_REDIRECTS} times; check base_url", status)
    try:
        url = hop.url.join(response.headers["location"]).copy_with(fragment=None)
    except Exception as error:  # (InvalidURL, ValueError, UnicodeError, ...: the URL is whatever a stranger wrote)
        raise _refusal(f"{whither} to something that is not a URL", status) from error
    if _stays(hop.url, url):
        return Hop(url.copy_with(userinfo=hop.url.userinfo), hop.is_foreign, hop.number + 1)
    if may_leave and url.scheme == "https" and url.host:
        return Hop(url.copy_with(userinfo=b""), True, hop.number + 1)
    reason = _NO_HTTPS if may_leave else _NOT_ALONE
    raise _refusal(f"{whither} to another server, and does not go there: {reason}", status)


def leads_elsewhere(url: Any, response: Any, *, may_leave: bool) -> bool:
    """Whether the redirect of a call to `url` leads where it must not go, or to no URL.

    Args:
        may_leave: whether another https host will do.
    """
    try:
        target = url.join(response.headers["location"])
    except Exception:  # (InvalidURL, ValueError, UnicodeError, ...: the URL is whatever a stranger wrote)
        return True
    return not (_stays(url, target) or (may_leave and target.scheme == "https" and bool(target.host)))


def foreign_request(request: Any, url: Any) -> Any:
    """A GET with the timeout of `request` and nothing else of it: no credential, header, cookie or query of ours."""
    return type(request)(
        "GET",
        url,
        headers={"accept": "*/*", "accept-encoding": ACCEPTED},
        extensions={"timeout": request.extensions["timeout"]},
    )


def _refusal(message: str, status: int) -> UpstreamError:
    # 301, 302 and 303 are also how a server says that it is done.
    return UpstreamError(message, is_permanent=True, may_have_been_sent=status not in _SAME_METHOD)


def _stays(old: Any, new: Any) -> bool:
    """Whether a URL has the origin of the old one, or is the same host with TLS."""
    if old.host != new.host:
        return False
    is_upgrade = (old.scheme, new.scheme) == ("http", "https")
    ports = _port(old), _port(new)
    return ports == (80, 443) if is_upgrade else (old.scheme, ports[0]) == (new.scheme, ports[1])


def _port(url: Any) -> int | None:
    port: int | None = url.port
    return _DEFAULT_PORTS.get(url.scheme) if port is None else port
