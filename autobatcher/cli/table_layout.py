"""Which columns of a table are shown, and how wide they are. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from rich.cells import cell_len, set_cell_size

GAP = 2
"""Between two columns."""

DOTS = "..."

READABLE = 20
"""Columns become narrower than this only when none is wider. Ids are shortened after other text."""

Cut = Literal["end", "middle", "wrap", "never"]


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        heading: never shortened.
        cut: where its cells are shortened; "middle" is for ids, which differ at their ends. "wrap" is for sentences in
            the last column: they go on below.
        least: how narrow it may become, as far as its heading allows.
        leaves: columns are left out where there is no room, 1 first; 0: it always stays.
    """

    heading: str
    cut: Cut = "end"
    least: int = 8
    leaves: int = 0


def fitted(columns: Sequence[Column], widths: Sequence[int], room: int | None) -> dict[int, int]:
    """The width of each column that is shown, by its number.

    Args:
        widths: of the widest cell of each column, with its heading.
        room: how wide the table may be; None if that does not matter.
    """
    shown = dict(enumerate(widths))
    if room is None:
        return shown
    least = {number: _least(column, shown[number]) for number, column in enumerate(columns)}
    for number in sorted((each for each in shown if columns[each].leaves), key=lambda each: columns[each].leaves):
        if _total(least.values()) <= room:
            break
        del shown[number], least[number]
    readable = {number: max(width, min(shown[number], READABLE)) for number, width in least.items()}
    ids = {number for number in shown if columns[number].cut == "middle"}
    for numbers, floor in ((shown.keys() - ids, readable), (ids, readable), (shown.keys(), least)):
        _narrow(shown, floor, sorted(numbers), room)
    return shown


def _least(column: Column, width: int) -> int:
    return width if column.cut == "never" else min(width, max(cell_len(column.heading), column.least))


def _total(widths: Collection[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _narrow(shown: dict[int, int], floor: Mapping[int, int], numbers: Sequence[int], room: int) -> None:
    """Take from the widest of these columns until the table fits, or none is wider than its floor."""
    excess = _total(shown.values()) - room
    while excess > 0 and (wide := [number for number in numbers if shown[number] > floor[number]]):
        shown[max(wide, key=lambda number: shown[number])] -= 1
        excess -= 1


def cut_to(text: str, width: int, cut: Cut) -> str:
    """The text, shortened to so many cells."""
    if cut in ("never", "wrap") or cell_len(text) <= width:
        return text
    kept = max(width - len(DOTS), 0)
    ahead = kept // 2 if cut == "middle" else kept
    tail = set_cell_size(text[::-1], kept - ahead)[::-1]
    return f"{set_cell_size(text, ahead)}{DOTS}{tail}"
