"""What the upstream answers to a lookup, as the proxy tells it: always JSON. Pure.

A content type of the upstream's would let it run script in the browser of whoever opens the address.
"""

from __future__ import annotations

import msgspec

from ..client.http_parts import HttpParts, id_header
from .exchange import RefusedError
from .refusals import refusal_parts

SHOWN_CHARACTERS = 200
"""Of a body that is no JSON."""


def relayed_parts(status: int, content: bytes, request_id: str | None) -> HttpParts:
    """The response for an answer of the upstream; an error if that is no JSON, or neither a success nor an error."""
    is_error = 400 <= status <= 599
    if not _is_json(content) or not (is_error or 200 <= status <= 299):
        parts = refusal_parts(_no_json(status if is_error else 502, status, content), kind="upstream_error")
    else:
        parts = {"status_code": status, "headers": {"content-type": "application/json"}, "content": content}
    return {**parts, "headers": {**parts["headers"], **id_header("x-request-id", request_id)}}


def _is_json(content: bytes) -> bool:
    try:
        msgspec.json.decode(content, type=msgspec.Raw)  # checks the syntax, builds nothing
        content.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _no_json(told: int, status: int, content: bytes) -> RefusedError:
    beginning = content[: 4 * SHOWN_CHARACTERS].decode("utf-8", "replace")[:SHOWN_CHARACTERS]
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in beginning).split())
    message = f"The upstream answered {status} without JSON" + (f": {words}" if words else ".")
    return RefusedError(told, message, code="upstream_not_json")
