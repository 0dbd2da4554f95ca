"""Reads JSON in pieces, without building objects of it. Pure.

msgspec keeps the event loop busy until it has decoded a whole body, and the objects may take thirty times its size:
30 MB of empty lists take 4 s and 800 MB. So bodies are decoded below a bound only. Above it they are followed piece by
piece.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator
from itertools import accumulate

from ..turns import Steps
from ..upstream.bounded_json import has_hard_numbers

MOST_NESTING = 750
"""How deep a body may be nested. Schemas of tools have a few dozen levels. msgspec itself gives up at about 900."""

MOST_ELEMENTS = 200_000
"""Up to this many elements a body is decoded at once, which takes 50 ms at most."""

MOST_BYTES = 4_000_000
"""The same for its size."""

PIECE_BYTES = 2**18
"""How much is read at a time: a millisecond's work; 12 ms for nothing but brackets."""


MOST_CONTAINERS = 1_000_000
"""How many lists and objects a body may have. Even msgspec's quickest look takes 10 ns for each."""


MOST_NAMES = 1_000_000
"""How many names its objects may have. That look takes 30 ns for each name beside the one that it looks for."""


MOST_VALUES = 20_000_000
"""How many values, names included: 64 MB of the tokens of honest prompts are fewer."""


class OversizeError(ValueError):
    """The JSON is nested too deeply, or has too many values, names, lists or objects."""


def is_large(body: bytes) -> bool:
    """Whether a body is to be read in pieces."""
    if len(body) > MOST_ELEMENTS and (len(body) > MOST_BYTES or _most_elements(body) > MOST_ELEMENTS):
        return True
    return has_hard_numbers(body)


def _most_elements(body: bytes) -> int:
    """An upper bound: texts are counted, too."""
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _pieces(body: bytes) -> Iterator[bytes]:
    """The body in pieces."""
    for begin in range(0, len(body), PIECE_BYTES):
        yield body[begin : begin + PIECE_BYTES]


def check_nesting(body: bytes) -> None:
    """Raise `OversizeError` for a small body that is nested too deeply."""
    if body.count(b"[") + body.count(b"{") > MOST_NESTING:
        JSONScan().feed(body)


def name_count(body: bytes) -> Steps[int]:
    """Count the names in the objects of a valid body, at any depth, duplicates included."""
    scan = JSONScan()
    for piece in _pieces(body):
        scan.feed(piece)
        yield
    return scan.names


def large_form(body: bytes) -> Steps[bytes]:
    """Make what stands for a large body in digests: equal for bodies that differ in white space between values only.

    It is no JSON, so that it equals no other body.

    Raises:
        OversizeError, UnicodeDecodeError: as `JSONScan.feed` does; the body is not UTF-8.
    """
    scan, whole = JSONScan(), hashlib.sha256()
    check_text = codecs.getincrementaldecoder("utf-8")().decode
    for piece in _pieces(body):
        check_text(piece)
        whole.update(scan.feed(piece))
        yield
    check_text(b"", True)
    whole.update(scan.end())
    return b"large " + whole.digest()


class JSONScan:
    """Follows JSON through its pieces: where strings are, and how deep it is nested. Syntax is not checked.

    Attributes:
        names: how many names the objects had so far.
    """

    def __init__(self) -> None:
        self.names: int = 0
        self._values = 0
        self._depth = 0
        self._containers = 0
        self._is_in_string = False
        self._kept = b""  # a backslash at the end of a piece, whose character is in the next one

    def feed(self, piece: bytes) -> bytes:
        """Return the piece without white space between values, with escaped quotes and backslashes marked.

        Raises:
            OversizeError: if it is nested too deeply, or has too many values, names, lists or objects.
        """
        parts = self._whole_escapes(piece).split(b'"')
        outside = b'"'.join(parts[self._is_in_string :: 2])
        self._follow(outside.translate(None, _NOT_BRACKETS))
        self._count_values(outside)
        if outside:  # otherwise nothing is outside, or a part without a byte
            parts[self._is_in_string :: 2] = outside.translate(None, _WHITE_SPACE).split(b'"')
        self._is_in_string ^= not len(parts) & 1
        return b'"'.join(parts)

    def end(self) -> bytes:
        """Return what `feed` kept back."""
        return self._kept

    def _whole_escapes(self, piece: bytes) -> bytes:
        """The piece with bytes that UTF-8 never has in place of escaped quotes and backslashes."""
        if not self._kept and b"\\" not in piece:
            return piece
        piece = self._kept + piece
        self._kept = b""
        if (len(piece) - len(piece.rstrip(b"\\"))) & 1:
            piece, self._kept = piece[:-1], b"\\"
        return piece.replace(b"\\\\", b"\xff\xff").replace(b'\\"', b"\xfe\xfe")

    def _count_values(self, outside: bytes) -> None:
        self.names += outside.count(b":")
        self._values += outside.count(b",")
        if self.names > MOST_NAMES:
            raise OversizeError(f"it has more than {MOST_NAMES:,} names")
        if self._values > MOST_VALUES:
            raise OversizeError(f"it has more than {MOST_VALUES:,} values")

    def _follow(self, brackets: bytes) -> None:
        """Take the brackets of a piece into account."""
        if self._may_be_too_deep(brackets):
            depths = accumulate(map(_STEPS.__getitem__, brackets), initial=self._depth)
            if max(depths) > MOST_NESTING:
                raise OversizeError(f"it is nested more than {MOST_NESTING} levels deep")
        opened = _count(brackets, _OPENING)
        self._depth += opened - _count(brackets, _CLOSING)
        self._containers += opened
        if self._containers > MOST_CONTAINERS:
            raise OversizeError(f"it has more than {MOST_CONTAINERS:,} lists and objects")

    def _may_be_too_deep(self, brackets: bytes) -> bool:
        """A quick look. Each round takes out the innermost pairs, and with them one level."""
        for levels in range(_QUICK_ROUNDS):
            if self._depth + levels + _count(brackets, _OPENING) <= MOST_NESTING:
                return False
            brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        return True


def _count(brackets: bytes, kinds: tuple[bytes, bytes]) -> int:
    return brackets.count(kinds[0]) + brackets.count(kinds[1])


_OPENING, _CLOSING = (b"[", b"{"), (b"]", b"}")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_WHITE_SPACE = b" \t\r\n"
_STEPS = {**dict.fromkeys(b"[{", 1), **dict.fromkeys(b"]}", -1)}
_QUICK_ROUNDS = 4
