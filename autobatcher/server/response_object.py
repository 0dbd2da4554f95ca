"""What a response object says from its beginning to its end, and what the upstream is asked for it. Pure.

Source: OpenAI's API reference and its guide to background mode.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from ..client.http_parts import HttpParts
from ..engine.journal.responses import OPEN, QUEUED, STATUSES
from ..upstream import tolerant_json
from ..upstream.key import fits_a_header
from ..upstream.reasons import well_formed
from .exchange import RefusedError

MOST_BYTES = 100_000_000
"""The largest response that is kept."""

MOST_ECHOED_BYTES = 10_000
"""A larger field of the call is not repeated in the response object until the upstream does."""

_MOST_ID_CHARACTERS = 512


class _Call(msgspec.Struct):
    background: Raw = Raw()
    previous_response_id: Raw = Raw()


_DEFAULTS: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "model": "",
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "auto",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What OpenAI's response object repeats of the call, and says where the call does not."""

_NULL, _TRUE = Raw(b"null"), Raw(b"true")
_decode_call = msgspec.json.Decoder(_Call).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.encode
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def is_in_background(body: bytes) -> bool:
    """Whether the body of a call to `/v1/responses` has `"background": true`."""
    if b"background" not in body and b"\\u" not in body:
        return False
    try:
        return _decode_call(body).background == _TRUE
    except _UNREADABLE:
        return False  # it is refused elsewhere, with the reason


def previous_id(body: bytes) -> str | None:
    """The response that a call goes on from; None for none."""
    if b"previous_response_id" not in body:
        return None
    try:
        return msgspec.json.decode(_decode_call(body).previous_response_id, type=str)
    except _UNREADABLE:
        return None  # the upstream is to say what is wrong with it


def going_on_from(body: bytes, id_: str) -> bytes:
    """The body of a call that goes on from another response."""
    return _encode({**_decode_fields(body), "previous_response_id": id_})


def begun(id_: str, body: bytes, created_at: float) -> bytes:
    """The object of a response that is queued.

    Args:
        body: of the call, a JSON object.
    """
    asked = _decode_fields(body)
    told = {name: _encoded(default) for name, default in _DEFAULTS.items()}
    told |= {
        name: asked[name]
        for name in _DEFAULTS.keys() & asked.keys()
        if len(asked[name]) <= MOST_ECHOED_BYTES and asked[name] != _NULL
    }
    return _encode({**_own(id_, created_at), "status": QUEUED, **_NOTHING_YET, **told})


def with_status(response: bytes, status: str) -> bytes:
    """The object with another status."""
    return _encode({**_decode_fields(response), "status": status})


class Ended(NamedTuple):
    """How a response ended.

    Attributes:
        status: one of those that last.
        response: the object.
        upstream_id: the upstream's id of it, if it gave one.
    """

    status: str
    response: bytes
    upstream_id: str | None = None


def ended(begun: bytes, answer: HttpParts) -> Ended:
    """How a response ends with this answer of the upstream, or of the engine in its place.

    Args:
        begun: the object until now. Its id and its time stay.
    """
    if not 200 <= answer["status_code"] < 300:
        return _failed(begun, _error_in(answer["content"]))
    if len(answer["content"]) > MOST_BYTES:
        return _failed(begun, {"code": "server_error", "message": f"The answer has more than {MOST_BYTES:,} bytes."})
    try:
        fields = members_of(answer["content"])
    except ValueError:
        return _failed(begun, {"code": "server_error", "message": "The upstream's answer is no response object."})
    status = _text(fields.get("status")) or "completed"
    if status in OPEN:
        return _failed(begun, {"code": "server_error", "message": f"The upstream left the response {status}."})
    own = {name: value for name, value in _decode_fields(begun).items() if name in _OWN}
    status = status if status in STATUSES else "completed"
    whole = _written({**fields, **own, "status": _encoded(status)})
    return Ended(status, whole, _usable(_text(fields.get("id"))))


def members_of(content: bytes) -> Mapping[str, bytes | Raw]:
    """The members of an object as they were written, also where a strict parser refuses it. Raises ValueError."""
    try:
        return _decode_fields(content)
    except _UNREADABLE:
        return tolerant_json.members(content)


def _text(written: bytes | Raw | None) -> str | None:
    try:
        return msgspec.json.decode(written or _NULL, type=str | None)
    except _UNREADABLE:
        return None


def _written(fields: Mapping[str, bytes | Raw]) -> bytes:
    """An object of members as they were written. Their names may have what UTF-8 cannot say."""
    return b"{%b}" % b",".join(b"%b:%b" % (json.dumps(name).encode(), value) for name, value in fields.items())


def _failed(begun: bytes, error: dict[str, Any]) -> Ended:
    return Ended("failed", _encode({**_decode_fields(begun), "status": "failed", "error": error}))


def _error_in(content: bytes) -> dict[str, Any]:
    """The error of a failed line, as a response object has it."""
    try:
        error = msgspec.json.decode(content, type=_Failure).error
    except _UNREADABLE:
        error = _Error(message=content[:1000].decode(errors="replace"))
    code = error.code if isinstance(error.code, str) and error.code else "server_error"
    return {"code": code, "message": well_formed(error.message), "type": error.type, "param": error.param}


class _Error(msgspec.Struct):
    message: str
    code: str | int | None = None
    type: str | None = None
    param: str | None = None


class _Failure(msgspec.Struct):
    error: _Error


def _usable(upstream_id: str | None) -> str | None:
    fits = upstream_id and len(upstream_id) <= _MOST_ID_CHARACTERS and fits_a_header(upstream_id)
    return upstream_id if fits else None


_NOTHING_YET: dict[str, Any] = {
    "completed_at": None,
    "error": None,
    "incomplete_details": None,
    "output": [],
    "usage": None,
}
_OWN = ("id", "object", "created_at", "background")


def _own(id_: str, created_at: float) -> dict[str, Any]:
    return {"id": id_, "object": "response", "created_at": int(created_at), "background": True}


def _encoded(value: Any) -> Raw:
    return Raw(_encode(value))


def refuse_stream() -> RefusedError:
    """A batch does not stream, and what is told at once has no events yet."""
    message = (
        "This proxy does not stream responses that are made in the background. Leave out `stream`, and ask for the "
        "response by its id; or leave out `background`, and the stream begins when the batch is done."
    )
    return RefusedError(400, message, code="background_stream")
