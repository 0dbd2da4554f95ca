"""Parses a multipart/form-data body, leaving its parts byte for byte."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.message import Message

from .wire import RefusedError


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form. `filename` is None for a plain field."""

    name: str
    filename: str | None
    content: bytes = field(repr=False)


def parse_form(content_type: str, body: bytes) -> dict[str, Part]:
    """The fields of a form (RFC 7578) by name, the last one winning; raises `RefusedError` (400)."""
    boundary = _parameter("content-type", content_type, "boundary")
    if not content_type.lower().startswith("multipart/form-data") or not boundary:
        raise RefusedError(400, "The upload must be multipart/form-data with a boundary.")
    delimiter = b"\r\n--" + boundary.encode()
    # The first delimiter has no line break before it.
    chunks = (b"\r\n" + body).split(delimiter)[1:]
    if not chunks or not chunks[-1].startswith(b"--"):
        raise RefusedError(400, "The upload ends before the closing boundary of its form.")
    parts = [_parse_part(chunk) for chunk in chunks[:-1]]
    return {part.name: part for part in parts}


def _parse_part(chunk: bytes) -> Part:
    head, separator, content = chunk.partition(b"\r\n\r\n")
    if not separator:
        raise RefusedError(400, "A part of the form has no headers.")
    for line in head.split(b"\r\n"):
        name, _, value = line.decode("utf-8", "replace").partition(":")
        if name.strip().lower() == "content-disposition":
            field = _parameter("content-disposition", value, "name")
            return Part(field or "", _parameter("content-disposition", value, "filename"), content)
    raise RefusedError(400, "A part of the form has no Content-Disposition.")


def _parameter(header: str, value: str, name: str) -> str | None:
    message = Message()
    message[header] = value.strip()
    found = message.get_param(name, header=header)
    # RFC 2231 values come as (charset, language, text).
    return found[2] if isinstance(found, tuple) else found
