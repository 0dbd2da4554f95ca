"""JSON of strangers, decoded within bounds. Pure.

A few kilobytes of gzip may hold millions of lists, each a Python object, or hundreds of thousands of numbers that take
microseconds each: `5e-324` takes seven, 300 times as long as 0.5.
"""

from __future__ import annotations

from typing import Any

import msgspec

MAX_MEMBERS = 300_000
"""Of an answer. Each costs up to a hundred bytes, and a tenth of a microsecond of the event loop. The largest honest
answer names 50,000 lines that are at fault, in four members each."""

MAX_CONTAINERS = 100_000
"""Lists and objects. Each takes up to a microsecond. The same honest answer has one for each line, and a message may
quote a brace."""

MOST_HARD_NUMBERS = 5_000
"""Each takes up to nine microseconds. Prompts have none, but hexadecimal digits may look like some."""

_LEAST_HARD_BYTES = len(b"5e-324,") * MOST_HARD_NUMBERS

_DIGITS_IN_A_ROW = b"0" * 100


def decode(content: bytes) -> Any:
    """Decode JSON. Raises `msgspec.DecodeError` also where it would take long; UnicodeDecodeError, RecursionError."""
    check_bounds(content)
    return msgspec.json.decode(content)


def is_bounded(content: bytes) -> bool:
    """Whether JSON neither takes long to decode nor much memory."""
    try:
        check_bounds(content)
    except msgspec.DecodeError:
        return False
    return True


def check_bounds(content: bytes) -> None:
    """Raise `msgspec.DecodeError` for JSON that would take long to decode, or much memory."""
    containers = content.count(b"[") + content.count(b"{")
    if containers > MAX_CONTAINERS:
        raise msgspec.DecodeError(f"it has more than {MAX_CONTAINERS:,} lists and objects")
    if containers + content.count(b",") > MAX_MEMBERS:
        raise msgspec.DecodeError(f"it has more than {MAX_MEMBERS:,} members")
    if has_hard_numbers(content):
        raise msgspec.DecodeError(f"it has more than {MOST_HARD_NUMBERS:,} numbers with hundreds of digits")


def has_hard_numbers(content: bytes) -> bool:
    """Whether there are too many numbers near the ends of the range of floats, or with very many digits.

    Those have an exponent of three digits, or a hundred digits in a row. Takes four milliseconds for a megabyte.
    """
    if len(content) < _LEAST_HARD_BYTES:
        return False
    shapes = content.translate(_SHAPES, b"+-")
    return shapes.count(b"0e000") + shapes.count(_DIGITS_IN_A_ROW) > MOST_HARD_NUMBERS


_SHAPES = bytes.maketrans(b"123456789E", b"000000000e")
