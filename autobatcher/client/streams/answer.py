"""The JSON of an answer, taken apart only as far as a stream needs; the rest keeps its bytes.

Whatever decodes here raises `msgspec.MsgspecError`, `UnicodeDecodeError` or `RecursionError` for what it cannot take.
"""

from __future__ import annotations

from collections.abc import Callable, Container

import msgspec
from msgspec import Raw

Fields = dict[str, Raw]
"""A JSON object by field, each value as it was written."""

NULL = Raw(b"null")

fields_of: Callable[[bytes], Fields] = msgspec.json.Decoder(Fields).decode
"""The fields of a JSON object."""

_EMPTY = (b"null", b'""', b"[]", b"{}")
_decode_list = msgspec.json.Decoder(list[Fields] | None).decode


def list_in(fields: Fields, name: str) -> list[Fields]:
    """The objects of the list in that field; none if it is missing or null."""
    return _decode_list(fields.get(name, NULL)) or []


def text_in(fields: Fields, name: str) -> str:
    """The string in that field, "" if there is none. For short ones: an answer's texts are passed on unread."""
    return str(msgspec.json.decode(fields[name])) if is_text(fields.get(name)) else ""


def without(fields: Fields, names: Container[str]) -> Fields:
    """The fields but for those."""
    return {name: value for name, value in fields.items() if name not in names}


def is_text(value: Raw | None) -> bool:
    """Whether it is a string, perhaps an empty one."""
    return value is not None and memoryview(value)[:1].tobytes() == b'"'


def is_filled(value: Raw | None) -> bool:
    """Whether it is there and is neither null nor an empty string, list or object."""
    return value is not None and (len(value) > 4 or bytes(value) not in _EMPTY)
