"""Turns an outcome of the engine into the parts of an HTTP response, for httpx, httpx2 or the proxy."""

from __future__ import annotations

import sys
from typing import Any, TypedDict

import msgspec

from ..engine.request import Answer
from ..errors import BatchError, BatchSubmissionError, UnbatchableRequestError
from .streams import CONTENT_TYPE

BATCH_ID_HEADER = "x-autobatcher-batch-id"
CUSTOM_ID_HEADER = "x-autobatcher-custom-id"

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
    headers = {"content-type": "application/json"}
    headers |= _known(BATCH_ID_HEADER, answer.batch_id) | _known(CUSTOM_ID_HEADER, answer.custom_id)
    headers |= _known("x-request-id", answer.request_id)
    if answer.status_code >= 400:
        headers["x-should-retry"] = "false"  # the engine retries, not the SDK
    return {"status_code": answer.status_code, "headers": headers, "content": answer.body}


def streamed_parts(answer: Answer, frames: bytes) -> HttpParts:
    """The response for an answer as server-sent events, all in one body."""
    parts = answer_parts(answer)
    headers = {**parts["headers"], "content-type": CONTENT_TYPE, "cache-control": "no-cache"}
    return {**parts, "headers": headers, "content": frames}


def error_parts(error: BatchError) -> HttpParts:
    """The response for an error of ours: OpenAI's error object, with the ids of batch and line."""
    headers = {"content-type": "application/json", "x-should-retry": "false"}
    headers |= _known(BATCH_ID_HEADER, error.batch_id) | _known(CUSTOM_ID_HEADER, error.custom_id)
    fields = {"message": error.message, "type": _type_name(error), "param": error.param, "code": None}
    if isinstance(error, BatchSubmissionError):
        fields |= _upstream_fields(error.response_body)
    content = msgspec.json.encode({"error": {**fields, "batch_id": error.batch_id, "custom_id": error.custom_id}})
    return {"status_code": error.status_code or _BAD_GATEWAY, "headers": headers, "content": content}


def _known(name: str, value: str | None) -> dict[str, str]:
    """A header for an id, if it is known and fits a header."""
    return {name: value} if value and value.isascii() and value.isprintable() else {}


def _type_name(error: BatchError) -> str:
    """`BatchEndedError` as "batch_ended_error"; a bad request by OpenAI's name."""
    if isinstance(error, UnbatchableRequestError):
        return "invalid_request_error"
    name = type(error).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def _upstream_fields(body: bytes | None) -> dict[str, str | None]:
    """Type, param and code of the upstream's error object, if it sent one."""
    try:
        error = msgspec.json.decode(body or b"null")["error"]
        return {name: error[name] for name in ("type", "param", "code") if error.get(name) is not None}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError, KeyError, AttributeError):
        return {}
