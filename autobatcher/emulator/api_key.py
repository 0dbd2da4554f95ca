"""Whether a request has the right key. Pure."""

from __future__ import annotations

from hmac import compare_digest

from .wire import RefusedError, Request


def check_key(key: str | None, request: Request) -> None:
    """Raises `RefusedError` (401) for another bearer token than `key`; None takes any that can be forwarded."""
    given = request.headers.get("authorization", "")
    is_wrong = key is not None and not compare_digest(given.encode("utf-8", "surrogatepass"), f"Bearer {key}".encode())
    if is_wrong or not (given.isascii() and (given.isprintable() or not given)):
        raise RefusedError(401, "Incorrect API key provided.", code="invalid_api_key")
