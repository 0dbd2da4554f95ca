"""The lines of an output, as the Batch API writes them: answers and failures. Pure."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from ..engine.request import Answer
from ..errors import BatchEndedError, BatchError
from ..upstream.tolerant_json import value_of

BEGINNING = b'{"id":"batch_req_'
"""Every line begins like this."""

_encode = msgspec.json.Encoder().encode
_check = msgspec.json.Decoder(msgspec.Raw).decode


def answer_line(custom_id: str, answer: Answer) -> bytes:
    """The line of an answer of any status, with its line end."""
    return b'%b%b","custom_id":%b,"response":{"status_code":%d,"request_id":%b,"body":%b},"error":null}\n' % (
        BEGINNING,
        _id_of(answer.custom_id),
        _encode(custom_id),
        answer.status_code,
        _encode(answer.request_id),
        _on_one_line(answer.body),
    )


def failure_line(custom_id: str, error: Exception) -> bytes:
    """The line of a call without an answer, with its line end."""
    reason = {"code": _code_of(error), "message": getattr(error, "message", str(error))}
    line_id = _id_of(getattr(error, "custom_id", None) or "")
    return b'%b%b","custom_id":%b,"response":null,"error":%b}\n' % (
        BEGINNING,
        line_id,
        _encode(custom_id),
        json.dumps(reason).encode(),
    )


def _id_of(custom_id: str) -> bytes:
    """The upstream batch's name for the line: ours, in which nothing needs escaping."""
    return custom_id.encode() or b"none"


def _on_one_line(body: bytes) -> bytes:
    """The body as it stands, on one line; what is no JSON in the strict sense is written anew."""
    try:
        _check(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _written_anew(body)
    if b"\n" in body or b"\r" in body:
        return body.replace(b"\n", b" ").replace(b"\r", b" ")  # white space: in texts they are escaped
    return body


def _written_anew(body: bytes) -> bytes:
    try:
        value: Any = value_of(body)
    except (ValueError, RecursionError):
        value = {"error": {"message": body.decode(errors="replace")}}
    return json.dumps(value).encode()


def _code_of(error: Exception) -> str:
    """The code that the Batch API has for it, where it has one."""
    if isinstance(error, BatchEndedError):
        told = error.body.get("code") if isinstance(error.body, dict) else None
        return told if isinstance(told, str) else f"batch_{error.status}"
    name = type(error).__name__.removesuffix("Error")
    assert isinstance(error, BatchError)
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


class _Seen(msgspec.Struct):
    """What is read of a line in an output."""

    custom_id: str
    id: str = ""
    response: _SeenResponse | None = None
    error: msgspec.Raw | None = None

    @property
    def line_id(self) -> str:
        """The id of the line upstream, if we wrote it."""
        return self.id.removeprefix("batch_req_")

    @property
    def is_failed(self) -> bool:
        return self.response is None or not 200 <= self.response.status_code < 300


class _SeenResponse(msgspec.Struct):
    status_code: int


_decode_seen = msgspec.json.Decoder(_Seen).decode


def seen_in(line: bytes) -> _Seen | None:
    """The custom id of a line of an output, and whether it failed; None for any other line."""
    try:
        return _decode_seen(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
