"""Base URLs as people mistype them, and what they probably meant. Pure."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit, urlunsplit

from .providers import BATCHABLE_ENDPOINTS, profile_for

_API_PATHS = {
    "azure": "/openai/v1",
    "dashscope": "/compatible-mode/v1",
    "deepinfra": "/v1/openai",
    "groq": "/openai/v1",
    "zhipu": "/api/paas/v4",
}
"""Where the API of a provider is, if not below /v1."""

_BATCHABLE = (endpoint.removeprefix("/v1/") for endpoint in BATCHABLE_ENDPOINTS)
_NAMES = "|".join(sorted((*_BATCHABLE, "chat", "batches", "files", "models"), key=len, reverse=True))
_ENDPOINT = re.compile(rf"(?P<base>.*)/chat/completions|(?P<versioned>.*/v\d+[a-z0-9]*)/({_NAMES})")
"""An endpoint at the end of a path. (An API may be below /models, as Azure's is, but not after a version.)"""

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:/+|/+")
_VERSION = re.compile(r"/v\d+([a-z]+\d*)?(/|$)")


def base_url_mistake(base_url: str) -> str | None:
    """What is wrong with a base URL, and what to use; None if nothing certainly is.

    It is the end of a sentence that begins with the name of the setting.
    """
    if base_url.split() != [base_url]:
        return f"has white space in it; use {_completed(''.join(base_url.split()))}"
    if not base_url.lower().startswith(("http://", "https://")):
        return f"must begin with http:// or https://; use {_completed(base_url)}"
    if not _host(base_url):
        return "has no host; use a URL such as https://api.openai.com/v1"
    completed = _completed(base_url)
    if _without_endpoint(base_url) != base_url:
        return f"must end before the endpoint; use {completed}"
    return f"lacks the API's path; use {completed}" if completed != base_url else None


def advice_after(status_code: int | None, body: bytes, base_url: str) -> str:
    """What to look at after a failure that may come from a wrong base URL; "" for any other failure.

    Args:
        status_code: of the response; None for one that was no failure by its status.
    """
    is_outage = (status_code or 0) >= 500 and status_code != 501  # which a gateway tells with pages
    is_page = is_html(body) and not is_outage
    if not is_page and (status_code not in (404, 405) or _VERSION.search(urlsplit(base_url).path)):
        return ""
    what = "answers with web pages, as if there were no API" if is_page else "has no such path"
    return f"Is base_url right? {base_url} {what}.{_alternative(base_url)}"


def likely_base_url(base_url: str) -> str:
    """Where the API of this URL's server probably is: the URL itself, unless it lacks a version."""
    parts = urlsplit(base_url)
    path = _API_PATHS.get(profile_for(base_url).name, "/v1")
    if path in parts.path or _VERSION.search(parts.path):
        return base_url
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + path, parts.query, ""))


def is_html(body: bytes) -> bool:
    """Whether a body is a web page."""
    return body[:512].lstrip().lower().startswith((b"<!doctype html", b"<html", b"<head", b"<body"))


def _alternative(base_url: str) -> str:
    likely = likely_base_url(base_url)
    return "" if likely == base_url else f" Try {likely}"


def _completed(base_url: str) -> str:
    """With a scheme, without an endpoint, and, at a provider that is known, with the path of its API."""
    has_scheme = base_url.lower().startswith(("http://", "https://"))
    whole = _without_endpoint(base_url if has_scheme else _with_scheme(base_url))
    is_known = profile_for(whole).name != "conservative"
    return likely_base_url(whole) if is_known and urlsplit(whole).path in ("", "/") else whole


def _with_scheme(base_url: str) -> str:
    rest = _SCHEME.sub("", base_url, count=1) if _SCHEME.match(base_url) else base_url
    scheme = "http" if _is_local(_host(f"http://{rest}")) else "https"
    return f"{scheme}://{rest}"


def _without_endpoint(base_url: str) -> str:
    parts = urlsplit(base_url)
    found = _ENDPOINT.fullmatch(parts.path.rstrip("/"))
    return base_url if found is None else urlunsplit(parts._replace(path=found["base"] or found["versioned"] or ""))


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_local(host: str) -> bool:
    """Whether a host is this machine, or one of a private network, where nobody has certificates."""
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal"))
