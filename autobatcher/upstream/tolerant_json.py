"""The members of a JSON object as they were written, also where a strict parser refuses it. Pure.

msgspec refuses half a surrogate pair, NaN, control characters in strings and invalid UTF-8. The SDK reads most of that
in real time, so an answer that holds it must not be lost. Nothing here is decoded for good: each member's value is cut
out as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json.decoder import scanstring  # type: ignore[attr-defined]  # public by use: json.JSONDecoder is made of it
from typing import Any

_BYTE_ORDER_MARK = "\ufeff"
_WHITE_SPACE = " \t\n\r\x00"  # NUL: what is left of UTF-16, or of a padded block


def members(written: bytes) -> dict[str, bytes]:
    """The members of an object, each value as it was written; of a name that comes twice, the last one.

    Raises:
        ValueError: for what is no object. (`json.JSONDecodeError` is one, and so is what deep nesting becomes here.)
    """
    text = written.decode("utf-8", "surrogateescape").strip(_WHITE_SPACE).removeprefix(_BYTE_ORDER_MARK)
    try:
        found, end = _members(text)
    except (IndexError, StopIteration, RecursionError) as error:
        raise ValueError("no JSON object") from error
    if text[end:].strip(_WHITE_SPACE):
        raise ValueError("something stands behind the JSON object")
    return {name: value.encode("utf-8", "surrogateescape") for name, value in found.items()}


def value_of(written: bytes) -> Any:
    """The value itself, as the standard library reads it. Raises ValueError."""
    try:
        return json.loads(written.decode("utf-8", "replace"), strict=False)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _members(text: str) -> tuple[dict[str, str], int]:
    """The members as text, and where the object ends."""
    found: dict[str, str] = {}
    at = _expected(text, 0, "{")
    if text[_behind_space(text, at)] == "}":
        return found, _behind_space(text, at) + 1
    while True:
        name, at = scanstring(text, _expected(text, at, '"'), False)
        begin = _behind_space(text, _expected(text, at, ":"))
        _, end = _scan(text, begin)
        found[name] = text[begin:end]
        at = _behind_space(text, end)
        if text[at] == "}":
            return found, at + 1
        at = _expected(text, at, ",")


def _expected(text: str, at: int, character: str) -> int:
    at = _behind_space(text, at)
    if text[at] != character:
        raise ValueError(f"{character!r} expected at {at}")
    return at + 1


def _behind_space(text: str, at: int) -> int:
    while text[at] in _WHITE_SPACE:
        at += 1
    return at


def _nothing(_: str) -> None:
    """Numbers are cut out, not read: Python refuses those of more than 4,300 digits."""


_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder(
    strict=False, parse_int=_nothing, parse_float=_nothing, parse_constant=_nothing
).scan_once  # type: ignore[attr-defined]  # public by use: what `raw_decode` calls
