"""Headers that browsers obey: what a response may do if it is opened as a page, and what may use it. Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Iterable, MutableMapping
from typing import Any

from .exchange import Send

_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

BROWSER_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", _NOTHING.encode()),
)
"""With these a response neither runs script nor is shown in a frame, whatever it holds."""


def with_headers(send: Send, added: Iterable[tuple[bytes, bytes]]) -> Send:
    """An ASGI `send` that adds these headers and `BROWSER_HEADERS`, except those that a response has already."""
    headers = (*BROWSER_HEADERS, *added)

    def sending(message: MutableMapping[str, Any]) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            names = {name.lower() for name, _ in given}
            message = {**message, "headers": given + [header for header in headers if header[0] not in names]}
        return send(message)

    return sending


def policy_of_page(html: str) -> str:
    """The Content-Security-Policy of a page of ours: its inline script and style, by their hashes, and its origin."""
    scripts, styles = _hashes("script", html), _hashes("style", html)
    return (
        f"{_NOTHING}; script-src {scripts}; style-src {styles}; connect-src 'self'; img-src data:; "
        "require-trusted-types-for 'script'"
    )


def _hashes(element: str, html: str) -> str:
    inline = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
    digests = (hashlib.sha256(text.encode()).digest() for text in inline)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
