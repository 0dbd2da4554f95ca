"""Decodes the JSON of an answer only as far as a stream needs; the rest keeps its bytes.

Functions that decode raise `msgspec.MsgspecError`, `UnicodeDecodeError` or `RecursionError`. An upstream may answer
with millions of choices, calls or names, each of which would become an event. So they are counted while they are
decoded, inside of `counted_parts`, and decoding stops at the bound.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

MOST_ITEMS = 4_096
"""Of one list: choices, tool calls, items of an output. Completions have one choice for each of up to 2,048 prompts."""

MOST_PARTS = 20_000
"""Items and names that one stream is made of. Raw values such as log probabilities do not count."""

Fields = dict[str, Raw]
"""The fields of a JSON object, values undecoded."""

NULL = Raw(b"null")

_EMPTY = (b"null", b'""', b"[]", b"{}")


class PartCount:
    """How many parts of one answer were decoded so far."""

    def __init__(self) -> None:
        self._parts = 0

    def add(self, parts: int) -> None:
        self._parts += parts
        if self._parts > MOST_PARTS:
            raise msgspec.ValidationError(f"it has more than {MOST_PARTS:,} parts")


@contextmanager
def counted_parts(count: PartCount) -> Iterator[None]:
    """Inside this block `fields_of` and `list_in` raise `msgspec.ValidationError` after `MOST_PARTS`."""
    token = _COUNT.set(count)
    try:
        yield
    finally:
        _COUNT.reset(token)


_COUNT: ContextVar[PartCount] = ContextVar("COUNT")


class _Name(str):
    """The name of a member, counted."""

    __slots__ = ()


def _counted_name(_: type, name: Any) -> _Name:
    _COUNT.get().add(1)
    return _Name(name)


fields_of: Callable[[bytes], Fields] = msgspec.json.Decoder[Any](dict[_Name, Raw], dec_hook=_counted_name).decode
"""Decode the fields of a JSON object."""

if TYPE_CHECKING:
    Items = msgspec.Struct
else:
    Items = msgspec.defstruct(
        "Items",
        [(f"item_{number}", Raw, Raw()) for number in range(MOST_ITEMS)],
        array_like=True,
        forbid_unknown_fields=True,
    )
"""A list of at most `MOST_ITEMS`: a longer one is refused before it is decoded. Items that are missing are empty."""

_decode_items = msgspec.json.Decoder(Items | None).decode
_decode_short = msgspec.json.Decoder(list[Raw] | None).decode


def _items_of(written: Raw) -> list[Raw]:
    """The items of a list, undecoded; none if it is null."""
    if len(written) <= 2 * MOST_ITEMS:  # too short for more
        items = _decode_short(written) or []
    else:
        items = [item for item in msgspec.structs.astuple(_decode_items(written)) if len(item)]
    _COUNT.get().add(len(items))
    return items


def list_in(fields: Fields, name: str) -> list[Fields]:
    """The objects of the list in that field; empty if it is missing or null."""
    return [fields_of(item) for item in _items_of(fields.get(name, NULL))]


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
