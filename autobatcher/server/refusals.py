"""The response to a request that the proxy refuses: OpenAI's error object. Pure."""

from __future__ import annotations

import msgspec

from ..client.http_parts import HttpParts
from .exchange import RefusedError

_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    502: "server_error",
    503: "server_error",
}


def refusal_parts(refused: RefusedError, *, kind: str | None = None, closes: bool = False) -> HttpParts:
    """An OpenAI-shaped error response. With `closes` the connection (HTTP/1.1) is closed after it."""
    kind = kind or _KINDS.get(refused.status_code, "invalid_request_error")
    fields = {"message": refused.message, "type": kind, "param": None, "code": refused.code}
    headers = {"content-type": "application/json"}
    if refused.retry_after is None:
        headers["x-should-retry"] = "false"
    else:
        headers["retry-after"] = str(refused.retry_after)
    if closes:
        headers["connection"] = "close"
    content = msgspec.json.encode({"error": fields})
    return {"status_code": refused.status_code, "headers": headers, "content": content}
