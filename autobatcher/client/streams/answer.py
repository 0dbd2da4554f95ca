"""Decodes the JSON of an answer only as far as a stream needs; the rest keeps its bytes.

Functions that decode raise `msgspec.MsgspecError`, `UnicodeDecodeError` or `RecursionError`.
"""

from __future__ import annotations

from collections.abc import Callable, Container

import msgspec
from msgspec import Raw

Fields = dict[str, Raw]
"""The fields of a JSON object, values undecoded."""

NULL = Raw(b"null")

fields_of: Callable[[bytes], Fields] = msgspec.json.Decoder(Fields).decode
"""Decode the fields of a JSON object."""

_EMPTY = (b"null", b'""', b"[]", b"{}")
_decode_list = msgspec.json.Decoder(list[Fields] | None).decode


def list_in(fields: Fields, name: str) -> list[Fields]:
    """The objects of the list in that field; empty if it is missing or null."""
    return _decode_list(fields.get(name, NULL)) or []


def text_in(fields: Fields, name: str) -> str:
    """The string in that field; "" if there is none. For short strings: the texts of answers stay undecoded."""
    return str(msgspec.json.decode(fields[name])) if is_text(fields.get(name)) else ""


def without(fields: Fields, names: Container[str]) -> Fields:
    """The fields without those names."""
    return {name: value for name, value in fields.items() if name not in names}


def is_text(value: Raw | None) -> bool:
    """Whether the value is a string."""
    return value is not None and memoryview(value)[:1].tobytes() == b'"'


def is_filled(value: Raw | None) -> bool:
    """Whether the value exists and is neither null nor an empty string, list or object."""
    return value is not None and (len(value) > 4 or bytes(value) not in _EMPTY)
