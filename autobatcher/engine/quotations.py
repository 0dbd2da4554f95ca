"""What an upstream quotes of prompts in its reasons, masked: logs, events and pages are read by others. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ..redaction import MASK
from ..turns import Steps, at_once
from ..upstream.bounded_json import has_hard_numbers

QUOTED_CHARACTERS = 16
"""So many characters in a row that stand in a prompt, too, are a quotation. Fewer are words that any text may have."""

SHORTEST_TEXT = 4
"""A whole prompt is masked where it stands as a word, unless it is shorter."""

MOST_BYTES_AT_ONCE = 200_000
"""Larger requests are searched in turns or not at all. These take some milliseconds."""

WITHHELD = "(not shown: so large a request is not searched for what this may quote of it; its caller has the reason)"

_PROMPTS = ("messages", "input", "prompt", "suffix", "instructions")
_NO_PROMPTS = frozenset({"type", "role", "id", "call_id", "tool_call_id", "name", "status", "detail", "format"})
_MOST_PARSED_BYTES = 4_000_000
_PIECE_CHARACTERS = 200_000
_SMALL_CHARACTERS = 500  # take as long as to read a small body
_BLOCK = QUOTED_CHARACTERS // 2
_BLOCKS = re.compile(f"(?s).{{{_BLOCK}}}")


def masked(reason: str, body: bytes) -> str:
    """Mask what a reason quotes of the prompt in the body of one call; `WITHHELD` if the body is too large."""
    return at_once(masking(reason, [body])) if len(body) <= MOST_BYTES_AT_ONCE else WITHHELD


def masking(reason: str, bodies: Iterable[bytes]) -> Steps[str]:
    """Mask what a reason quotes of the prompts in any of these bodies, in steps of some milliseconds."""
    marks, searched = ["."] * len(reason), 0
    grams = {reason[at : at + _BLOCK] for at in range(len(reason) - _BLOCK + 1)}
    for body in bodies:
        for piece in _pieces(body, is_escaped="\\" in reason):
            for begin, end in _quotations(reason, grams, piece):
                mark = "w" if len(piece) < QUOTED_CHARACTERS else "q"
                marks[begin:end] = mark * (end - begin)
            searched += len(piece) + _SMALL_CHARACTERS
            if searched > _PIECE_CHARACTERS:
                searched = 0
                yield
    return MASK.join(_between(reason, "".join(marks)))


def _between(reason: str, marks: str) -> Iterator[str]:
    """What is left around the quotations. Two that are near each other are one, with an escape in it."""
    begin = 0
    for quotation in _QUOTATIONS.finditer(marks):
        yield reason[begin : quotation.start()]
        begin = quotation.end()
    yield reason[begin:]


_QUOTATIONS = re.compile(f"q(?:.{{0,{2 * QUOTED_CHARACTERS}}}q)*|w+")


def _quotations(reason: str, grams: set[str], piece: str) -> Iterator[tuple[int, int]]:
    """Where in the reason quotations of a piece stand. A long quotation has a block of the piece in it."""
    if len(piece) < QUOTED_CHARACTERS:
        if len(piece) >= SHORTEST_TEXT and piece in reason:
            yield from (found.span() for found in re.finditer(rf"(?<!\w){re.escape(piece)}(?!\w)", reason))
        return
    for block in grams.intersection(_BLOCKS.findall(piece)):
        at = reason.find(block)
        while at >= 0:
            for begin in range(max(0, at - _BLOCK), min(at, len(reason) - QUOTED_CHARACTERS) + 1):
                if reason[begin : begin + QUOTED_CHARACTERS] in piece:
                    yield begin, begin + QUOTED_CHARACTERS
            at = reason.find(block, at + 1)


def _pieces(body: bytes, *, is_escaped: bool) -> Iterator[str]:
    """The texts of the prompt, cut into overlapping pieces: with white space as in a reason; perhaps as code, too."""
    for text in _texts(body):
        for begin in range(0, len(text), _PIECE_CHARACTERS):
            piece = text[begin : begin + _PIECE_CHARACTERS + QUOTED_CHARACTERS]
            yield " ".join(piece.split())
            if is_escaped:
                yield json.dumps(piece)[1:-1]
                yield json.dumps(piece, ensure_ascii=False)[1:-1]
                yield repr(piece)[1:-1]


def _texts(body: bytes) -> Iterator[str]:
    if len(body) > _MOST_PARSED_BYTES or has_hard_numbers(body):
        yield body.decode(errors="replace")
        return
    try:
        fields: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        yield body.decode(errors="replace")
        return
    waiting = [fields[name] for name in _PROMPTS if name in fields] if isinstance(fields, dict) else []
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(member for name, member in value.items() if name not in _NO_PROMPTS)
