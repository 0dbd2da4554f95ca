"""Text broken into lines between its words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len, chop_cells

NARROWEST = 20
"""However little room there is, a line may have so many columns."""

LEAST_INDENT = 2


def wrapped(text: str, room: int | None, *, chops: bool = True) -> list[str]:
    """The lines of a text; one line if room does not matter.

    Args:
        room: how wide a line may be.
        chops: whether a word that is wider than that is broken. A path or a URL that is to be copied should not be.
    """
    if room is None or cell_len(text) <= room:
        return [text]
    width, lines, line = max(room, NARROWEST), list[str](), ""
    for word in text.split(" "):
        if cell_len(joined := f"{line} {word}" if line else word) <= width:
            line = joined
            continue
        lines += [line] if line else []
        *full, line = (chop_cells(word, width) if chops else []) or [word]
        lines += full
    return [*lines, line]


def hanging(line: str, begin: int, room: int | None) -> list[str]:
    """The lines of a text whose later lines begin further right, if its words have room there: they stay whole."""
    first, *rest = wrapped(line, room, chops=False)
    if room is None or not rest:
        return [first]
    indent = begin if max(map(cell_len, line.split(" "))) <= room - begin else LEAST_INDENT
    left = line[len(first) :].lstrip(" ")
    return [first, *(" " * indent + each for each in wrapped(left, room - indent, chops=False))]


def value_lines(rows: Sequence[tuple[str, str]], room: int | None) -> Iterator[tuple[str, str]]:
    """Names and values as two columns: the name with the space behind it, and the value, line by line."""
    width = max((len(name) for name, _ in rows), default=0) + 2
    for name, value in rows:
        for number, line in enumerate(wrapped(value, None if room is None else room - width)):
            yield (name if number == 0 else "").ljust(width), line


def joined(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """The same as whole lines."""
    return ["".join(pair).rstrip() for pair in pairs]
