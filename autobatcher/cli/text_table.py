"""Aligned tables without borders, as wide as there is room. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from rich.cells import cell_len
from rich.text import Text

from ..printable import printable
from ..progress import shortened
from .table_layout import GAP, Column, cut_to, fitted
from .wrapping import wrapped

LONGEST_CELL = 200
"""In characters. Each cell of a column is as wide as the widest one."""

LONGEST_SENTENCE = 1000
"""The same for a cell of sentences, in the last column."""

ROWS_LOOKED_AT = 1000
"""How many rows of a table that is printed as it is read say how wide its columns are."""

Styles = dict[str, str]
"""The style of a cell, by the first word in it."""


def text_table(
    columns: Sequence[Column | str],
    rows: Sequence[Sequence[str]],
    styles: Styles | None = None,
    *,
    room: int | None = None,
) -> Text:
    """The rows under their headings; columns of numbers are right-aligned. Cells may be text of strangers.

    Args:
        columns: or their headings alone.
        room: how wide the table may be; None if that does not matter.
    """
    lines = table_lines(columns, rows, styles, room=room, looked_at=len(rows))
    return Text("\n", no_wrap=room is not None, overflow="fold").join([*lines, Text()])


def table_lines(
    columns: Sequence[Column | str],
    rows: Iterable[Sequence[str]],
    styles: Styles | None = None,
    *,
    room: int | None = None,
    looked_at: int = ROWS_LOOKED_AT,
) -> Iterator[Text]:
    """The same line by line, as the rows come. It holds the first rows only, which say how wide the columns are."""
    described = [Column(each) if isinstance(each, str) else each for each in columns]
    others = (_printable(described, row) for row in rows)
    first = list(islice(others, looked_at))
    table = _Table(described, first, styles or {}, room)
    yield table.line([column.heading for column in described], "bold")
    for row in chain(first, others):
        yield from table.lines(row)


class _Table:
    """How the lines of a table look."""

    def __init__(
        self, columns: Sequence[Column], rows: Sequence[Sequence[str]], styles: Styles, room: int | None
    ) -> None:
        cells = [[column.heading, *(row[number] for row in rows)] for number, column in enumerate(columns)]
        self._are_numbers = [all(map(_is_number, column[1:])) for column in cells]
        self._columns = [
            column._replace(cut="never") if is_number else column
            for column, is_number in zip(columns, self._are_numbers, strict=True)
        ]
        self._widths = fitted(self._columns, [max(map(cell_len, column)) for column in cells], room)
        self._styles = styles
        self._has_room = room is None

    def lines(self, row: Sequence[str]) -> Iterator[Text]:
        """One row: its line, and further ones if a sentence goes on below."""
        last = len(row) - 1
        if self._has_room or self._columns[last].cut != "wrap" or last not in self._widths:
            yield self.line(row)
            return
        first, *rest = wrapped(row[last], self._widths[last])
        yield self.line([*row[:last], first])
        for line in rest:
            yield self.line([*[""] * last, line])

    def line(self, row: Sequence[str], style: str = "") -> Text:
        """One line, or the headings."""
        line = Text(end="")
        for number, width in self._widths.items():
            cell = row[number] if self._has_room else cut_to(row[number], width, self._columns[number].cut)
            space = " " * (width - cell_len(cell))
            words = f"{space}{cell}" if self._are_numbers[number] else f"{cell}{space}"
            line.append(words + " " * GAP, style or self._styles.get(row[number].partition(" ")[0], ""))
        line.rstrip()
        return line


def _printable(columns: Sequence[Column], row: Sequence[str]) -> list[str]:
    return [
        printable(shortened(cell, LONGEST_SENTENCE if column.cut == "wrap" else LONGEST_CELL))
        for column, cell in zip(columns, row, strict=True)
    ]


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(",", "").replace("/", "").isdigit()
