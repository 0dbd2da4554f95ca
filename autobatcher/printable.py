"""Text of strangers, made fit for a terminal, a log or a page: it moves no cursor, sets no title, hides no character.

Strangers are upstreams, callers, and whoever wrote a file. What is printed as JSON keeps all characters, as escapes.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


def printable(text: str) -> str:
    """Return the text on one line, with a space for each character that has no glyph. The length stays the same.

    These are C0, C1 and DEL, marks that change the direction of what follows, characters without width, line
    separators, and halves of surrogate pairs.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else " " for letter in text)


def printable_lines(text: str) -> str:
    """Like `printable`, for a text of ours with several lines: line feeds stay."""
    return "\n".join(map(printable, text.split("\n")))


def json_line(fields: Mapping[str, Any], encoded: Mapping[str, str] = MappingProxyType({})) -> str:
    """Encode an object as one line of ASCII without control characters, keys sorted.

    Args:
        encoded: further members, each value as JSON on one line.
    """
    members = {**{name: json.dumps(value, sort_keys=True) for name, value in fields.items()}, **encoded}
    line = ", ".join(f"{json.dumps(name)}: {members[name]}" for name in sorted(members))
    return "{" + _NOT_ASCII.sub(_escaped, line) + "}"


_NOT_ASCII = re.compile(r"[^ -~]")
"""In JSON on one line, such a character is inside a string. `json.dumps` leaves DEL, and `encoded` any of them."""


def _escaped(found: re.Match[str]) -> str:
    return "\\u007f" if found[0] == "\x7f" else json.dumps(found[0])[1:-1]


class PrintableRecords(logging.Filter):
    """Makes log records printable, whatever handlers a program has: their arguments, and the text of a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record, and keep it."""
        if isinstance(record.args, tuple):
            record.args = tuple(each if isinstance(each, int | float) else printable(str(each)) for each in record.args)
        if record.exc_info and record.exc_info[1] is not None and record.exc_text is None:
            error = record.exc_info[1]
            record.exc_text = printable_lines("".join(traceback.format_exception(error)).rstrip("\n"))
        return True


class PrintableFormatter(logging.Formatter):
    """Makes lines of a log printable, also those of other libraries."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))
