"""Lines of an input file: bytes in, parsed lines out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a batch.

    `number` counts from 1; `body` is the JSON of its body, `model` the model in it.
    """

    number: int
    custom_id: str
    url: str
    model: str
    body: bytes = field(repr=False)


class RawLine(msgspec.Struct):
    """A line as received: any field may be missing or of the wrong type."""

    custom_id: Any = None
    method: Any = None
    url: Any = None
    body: msgspec.Raw = msgspec.Raw(b"")


class BodyHead(msgspec.Struct):
    """The fields of a body that a batch needs."""

    model: Any = None
    stream: Any = None


_decode_line = msgspec.json.Decoder(RawLine).decode
_decode_head = msgspec.json.Decoder(BodyHead).decode


def split_lines(content: bytes) -> list[bytes]:
    """The lines, without their ends.

    Only a line feed ends a line: U+2028 and U+0085 may stand raw inside one.
    """
    lines = content.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]


def parse_line(text: bytes) -> RawLine | None:
    """None if the line is not a JSON object."""
    try:
        return _decode_line(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def parse_head(body: msgspec.Raw) -> BodyHead | None:
    """None if the body is not a JSON object."""
    try:
        return _decode_head(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class _EmbeddingInput(msgspec.Struct):
    input: Any = None


def count_embedding_inputs(body: bytes) -> int:
    """The number of texts in an embeddings request: a string is one, and so is a list of tokens."""
    try:
        content = msgspec.json.decode(body, type=_EmbeddingInput).input
    except msgspec.MsgspecError:  # a number that no float can hold; Python's parser takes it
        return 1
    if isinstance(content, list) and not all(isinstance(item, int) for item in content):
        return len(content)
    return 1
