"""Turns an outcome of the engine into the parts of an HTTP response, for httpx, httpx2 or the proxy."""

from __future__ import annotations

import sys
from typing import Any, TypedDict, cast

import msgspec

from ..engine.request import Answer
from ..errors import BatchError, BatchSubmissionError, BudgetExceededError, UnbatchableRequestError
from ..upstream.bounded_json import decode, is_bounded
from ..upstream.key import fits_a_header
from ..upstream.output_line import MAX_ERROR_CHARACTERS
from ..upstream.reasons import well_formed
from ..upstream.response import MAX_ERROR_BYTES
from ..upstream.tolerant_json import value_of
from .streams import CONTENT_TYPE

BATCH_ID_HEADER = "x-autobatcher-batch-id"
CUSTOM_ID_HEADER = "x-autobatcher-custom-id"
LANE_HEADER = "x-autobatcher-lane"
"""How the answer was got, as the upstream billed it: see `Answer.lane`."""

MOST_ID_CHARACTERS = 512

_BAD_GATEWAY = 502


class HttpParts(TypedDict):
    """Status, headers and content of an HTTP response."""

    status_code: int
    headers: dict[str, str]
    content: bytes


def library_of(request: Any) -> Any:
    """The module, httpx or httpx2, whose request this is."""
    return sys.modules[type(request).__module__.partition(".")[0]]


def answer_parts(answer: Answer) -> HttpParts:
    """The response for an answer of the upstream, of any status."""
    headers = {"content-type": "application/json", LANE_HEADER: answer.lane}
    headers |= id_header(BATCH_ID_HEADER, answer.batch_id) | id_header(CUSTOM_ID_HEADER, answer.custom_id)
    headers |= id_header("x-request-id", answer.request_id)
    content = answer.body
    if answer.status_code >= 400:
        headers["x-should-retry"] = "false"  # the engine retries, not the SDK
        content = _error_object(content)
    return {"status_code": answer.status_code, "headers": headers, "content": content}


def _error_object(body: bytes) -> bytes:
    """The body of a failed line. Some upstreams tell a gateway's page there, as text; that becomes an error object.

    So does the beginning of what no honest server says of one failure.
    """
    if len(body) > MAX_ERROR_BYTES or not is_bounded(body):
        body = body[:MAX_ERROR_CHARACTERS]
    try:
        value = value_of(body)
    except ValueError:
        value = body.decode(errors="replace")
    if isinstance(value, dict):
        return body
    message = value if isinstance(value, str) else body.decode(errors="replace")
    fields = {"message": well_formed(message), "type": "upstream_error", "param": None, "code": None}
    return msgspec.json.encode({"error": fields})


def streamed_parts(answer: Answer, frames: bytes) -> HttpParts:
    """The response for an answer as server-sent events, all in one body."""
    parts = answer_parts(answer)
    headers = {**parts["headers"], "content-type": CONTENT_TYPE, "cache-control": "no-cache"}
    return {**parts, "headers": headers, "content": frames}


def error_parts(error: BatchError, *, message: str | None = None) -> HttpParts:
    """The response for an error of ours: OpenAI's error object, with the ids of batch and line.

    Args:
        message: to be said instead of the error's own.
    """
    headers = {"content-type": "application/json", "x-should-retry": "false"}
    headers |= id_header(BATCH_ID_HEADER, error.batch_id) | id_header(CUSTOM_ID_HEADER, error.custom_id)
    fields = {"message": error.message, "type": _type_name(error), "param": error.param, "code": None}
    if isinstance(error, BatchSubmissionError):
        fields |= _upstream_fields(error.response_body)
    elif isinstance(error, BudgetExceededError):
        fields |= cast("dict[str, str | None]", error.body)
    fields["code"] = fields["code"] or _code(error)
    if message is not None:
        fields["message"] = message
    content = msgspec.json.encode({"error": {**fields, "batch_id": error.batch_id, "custom_id": error.custom_id}})
    status = error.status_code or _BAD_GATEWAY
    # An upstream may refuse with a redirect or worse, which is no answer to this caller.
    return {"status_code": status if 400 <= status <= 599 else _BAD_GATEWAY, "headers": headers, "content": content}


def id_header(name: str, value: str | None) -> dict[str, str]:
    """A header for an id of the upstream's, if it is known and could be one."""
    return {name: value} if value and len(value) <= MOST_ID_CHARACTERS and fits_a_header(value) else {}


def _type_name(error: BatchError) -> str:
    """`BatchEndedError` as "batch_ended_error"; a bad request by OpenAI's name."""
    if isinstance(error, UnbatchableRequestError):
        return "invalid_request_error"
    name = type(error).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def _code(error: BatchError) -> str | None:
    """A code for an error that names none: an upstream without credit may say so in plain text."""
    return error.code if isinstance(error.code, str) else _CODES.get(error.status_code or 0)


_CODES = {402: "payment_required"}


def _upstream_fields(body: bytes | None) -> dict[str, str | None]:
    """Type, param and code of the upstream's error object, if it sent one."""
    try:
        error = decode(body or b"null")["error"]
        return {name: error[name] for name in ("type", "param", "code") if error.get(name) is not None}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError, KeyError, AttributeError):
        return {}
