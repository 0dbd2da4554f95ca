"""A text that matches a regular expression, for the `pattern` of a JSON schema."""

from __future__ import annotations

import re
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_ALPHABET = "aA0 _-.,:;/@#!?b1"
_ROUNDS = 40


def text_matching(pattern: str, least: int, most: float, variant: int) -> str | None:
    """The `variant`-th text found that contains a match and has from `least` to `most` characters, if any.

    Supports the syntax that Python and ECMAScript share, except look-arounds.
    """
    try:
        tree, compiled = parser.parse(pattern), re.compile(pattern)
    except re.error:
        return None
    found: list[str] = []
    for extra in range(_ROUNDS):
        for turn in range(_ROUNDS):
            text = "".join(_write(tree, extra, turn))
            text = text.ljust(least, "a") if not compiled.search(text) or len(text) < least else text
            if least <= len(text) <= most and compiled.search(text) and text not in found:
                found.append(text)
            if len(found) > variant:
                return found[variant]
    return found[variant % len(found)] if found else None


def _write(tree: Any, extra: int, turn: int) -> list[str]:
    """A short text of a parsed pattern: `extra` more of what repeats, `turn` picks the characters."""
    return [_write_one(code, argument, extra, turn) for code, argument in tree]


def _write_one(code: Any, argument: Any, extra: int, turn: int) -> str:
    if code is codes.LITERAL:
        return chr(argument)
    if code is codes.NOT_LITERAL:
        return next(character for character in _turned(turn) if ord(character) != argument)
    if code is codes.ANY:
        return _turned(turn)[0]
    if code is codes.IN:
        return _one_of(argument, turn)
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        least, most, inner = argument
        times = min(most, least + extra)
        return "".join("".join(_write(inner, extra, turn)) for _ in range(times))
    if code is codes.SUBPATTERN:
        return "".join(_write(argument[-1], extra, turn))
    if code is codes.BRANCH:
        branches = argument[1]
        return "".join(_write(branches[turn % len(branches)], extra, turn))
    return ""


def _one_of(members: Any, turn: int) -> str:
    """A character of a class like [a-z0-9] or [^/]."""
    if members[0][0] is codes.NEGATE:
        allowed = [char for char in _turned(turn) if not any(_is_in(ord(char), *member) for member in members[1:])]
        return allowed[0] if allowed else "\u00e9"
    code, argument = members[turn % len(members)]
    if code is codes.LITERAL:
        return chr(argument)
    if code is codes.RANGE:
        return chr(argument[0] + turn % (argument[1] - argument[0] + 1))
    fitting = [char for char in _turned(turn) if _is_in(ord(char), code, argument)]
    return fitting[0] if fitting else ""


def _is_in(point: int, code: Any, argument: Any) -> bool:
    if code is codes.LITERAL:
        return bool(point == argument)
    if code is codes.RANGE:
        return bool(argument[0] <= point <= argument[1])
    if code is codes.CATEGORY:
        letter = {codes.CATEGORY_DIGIT: r"\d", codes.CATEGORY_NOT_DIGIT: r"\D", codes.CATEGORY_SPACE: r"\s"}
        letter |= {
            codes.CATEGORY_NOT_SPACE: r"\S",
            codes.CATEGORY_WORD: r"\w",
            codes.CATEGORY_NOT_WORD: r"\W",
        }
        return re.fullmatch(letter[argument], chr(point)) is not None
    return False


def _turned(turn: int) -> str:
    start = turn % len(_ALPHABET)
    return _ALPHABET[start:] + _ALPHABET[:start]
