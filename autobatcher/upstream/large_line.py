"""Finds the body of a very large output line, a little at a time. Pure.

A parser holds the event loop while it reads a line: half a second for 256 MB. Here nothing is parsed but what stands
around the body, whose brackets and quotes are followed to its end.
"""

from __future__ import annotations

import io
import re

import msgspec

from ..turns import Steps, copying
from .output_line import OutputLine, parse_output_line, unwrapped

LARGE_BYTES = 32_000_000
"""Lines up to this size are parsed at once, by a strict parser in 60 ms at most."""

LARGE_ODD_BYTES = 256_000
"""The same for the lenient parser, which reads what the strict one refuses, and is a hundred times slower."""

LARGE_TEXT_BYTES = 16_000_000
"""How long a body may be that was sent as JSON text."""

_SLICE_BYTES = 65_536
"""How much is looked at in one step: some 10 ms if it is nothing but brackets."""

_MOST_MARKS = 10_000_000
"""Brackets and strings of a line: some seconds of work. Embeddings and images have few of them."""

_MARK = re.compile(rb'"[^"\\]*"|["{}\[\]]')  # a lone quote begins a string with escapes, or one that the slice cuts
_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*')
_NAME_ENDS = re.compile(rb"\s*:\s*")
_PLACE_HOLDER = b"{}"


def parse_large_line(line: bytes) -> Steps[OutputLine | None]:
    """Parse a line in steps of some milliseconds; return None if it has no body that is an object, or text of one.

    A body is cut out as it stands: whether it is valid JSON is for its caller's parser to say.
    """
    span = yield from _body_span(line)
    if span is None:
        return None
    begin, end = span
    if len(line) - (end - begin) > LARGE_ODD_BYTES:
        return None
    parsed = parse_output_line(line[:begin] + _PLACE_HOLDER + line[end:])
    if parsed is None or parsed.body != _PLACE_HOLDER:
        return parsed
    copied = io.BytesIO()
    yield from copying(line, begin, end, copied)
    body = copied.getvalue()
    if line[begin] != _QUOTE:
        return msgspec.structs.replace(parsed, body=body)
    return msgspec.structs.replace(parsed, body=unwrapped(body)) if len(body) <= LARGE_TEXT_BYTES else None


def _body_span(line: bytes) -> Steps[tuple[int, int] | None]:
    """Where `response.body` begins and ends, if it is an object or text; None if there is none."""
    place, at, marks = _Place(line), 0, 0
    while at < len(line) and marks < _MOST_MARKS:
        stop = at + _SLICE_BYTES
        for found in _MARK.finditer(line, at, stop):
            mark, at = found[0], found.end()
            marks += 1
            if mark == b'"':
                at = yield from _string_end(line, at)
            if place.pass_string(found.start(), at) if mark[0] == _QUOTE else place.pass_bracket(mark):
                return place.begin, at
            if mark == b'"':
                break
        else:
            at = stop
        yield
    return None


_QUOTE = ord('"')


def _string_end(line: bytes, at: int) -> Steps[int]:
    """Where a string ends, behind its quote; the line's end if it does not."""
    while at < len(line):
        before, at = at, _string_part_end(line, at)
        if at < len(line) and line[at] == _QUOTE:
            return at + 1
        if at == before:  # a backslash, and nothing behind it
            break
        yield
    return len(line)


def _string_part_end(line: bytes, at: int) -> int:
    found = _STRING.match(line, at, at + _SLICE_BYTES)
    return at if found is None else found.end()


class _Place:
    """A place in a line: how deep, and below which member.

    Attributes:
        begin: where the body begins; -1 until it is found.
    """

    def __init__(self, line: bytes) -> None:
        self.begin: int = -1
        self._line = line
        self._depth = 0
        self._member = b""

    def pass_string(self, start: int, end: int) -> bool:
        """Move behind a string, which may be a member's name; return whether the body ends there."""
        if self.begin >= 0 or self._depth not in (1, 2):
            return self.begin == start
        name, value = self._line[start : min(end, start + 16)], _NAME_ENDS.match(self._line, end)
        if value is not None and self._depth == 1:
            self._member = name
        elif value is not None and (self._member, name) == (b'"response"', b'"body"'):
            is_large = self._line[value.end() : value.end() + 1] in (b"{", b'"')
            self.begin = value.end() if is_large else -1
        return False

    def pass_bracket(self, bracket: bytes) -> bool:
        """Move behind a bracket; return whether the body ends there."""
        self._depth += 1 if bracket in b"{[" else -1
        return self._depth == 2 and self.begin >= 0
