"""Which route a path means, and what is said of others. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ..client.http_parts import HttpParts
from ..upstream.providers import BATCHABLE_ENDPOINTS
from .exchange import RefusedError
from .refusals import refusal_parts

MODELS, RESPONSES, WEBHOOKS = "/v1/models", "/v1/responses", "/webhooks"

_PAGES = ("/health", "/ready", "/metrics", "/status", "/receipt", "/openapi.json", "/")
_ROUTES = frozenset({*_PAGES, MODELS, WEBHOOKS, *BATCHABLE_ENDPOINTS})
_BELOW = (f"{MODELS}/", f"{RESPONSES}/")
"""Where names and ids follow."""


def served_path(path: str) -> str:
    """The path by which the proxy knows a route. A client may leave out `/v1`, and add slashes.

    A name of a model keeps the slashes at its end: there is no such model.
    """
    for spelled in (path, f"/v1{path}") if path.startswith("/") else ():
        if (trimmed := "/" + spelled.strip("/")) in _ROUTES:
            return trimmed
        if spelled.startswith(_BELOW):
            return spelled.rstrip("/") if spelled.startswith(RESPONSES) else spelled
    return path


def not_served_parts(method: str, path: str) -> HttpParts:
    """The 404 for a route that does not exist."""
    what = _OF_BATCHES if f"{path}/".startswith(_OF_THE_BATCH_API) else _SERVED
    return refusal_parts(RefusedError(404, f"{method} {path} is not served here. {what}", code="unknown_url"))


def not_allowed_parts(method: str, path: str, allowed: Iterable[str]) -> HttpParts:
    """The 405 for a route that takes other methods."""
    allow = ", ".join(sorted(allowed))
    message = f"{method} {path} is not served here: send {allow.replace(', ', ' or ')}. {_SERVED}"
    parts = refusal_parts(RefusedError(405, message, code="method_not_allowed"))
    return {**parts, "headers": {**parts["headers"], "allow": allow}}


_OF_THE_BATCH_API = ("/v1/files/", "/v1/batches/", "/files/", "/batches/")
_OF_BATCHES = (
    "This program makes batches itself (BatchOpenAI): run it without autobatcher run. Behind autobatcher serve, give "
    "it the provider's URL."
)

_SERVED = (
    f"This proxy serves {', '.join(f'POST {endpoint}' for endpoint in sorted(BATCHABLE_ENDPOINTS))}, GET {MODELS}, "
    f"{MODELS}/{{id}}, {RESPONSES}/{{id}}, {', '.join(_PAGES[:-1])} and /."
)
