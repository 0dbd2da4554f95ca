"""Aligned tables without borders. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from ..printable import printable
from ..progress import shortened

LONGEST_CELL = 200
"""In characters. Each cell of a column is as wide as the widest one."""

Styles = dict[str, str]
"""The style of a cell, by the first word in it."""


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]], styles: Styles | None = None) -> Text:
    """The rows under their headings; columns of numbers are right-aligned. Cells may be text of strangers."""
    cells = [[printable(shortened(cell, LONGEST_CELL)) for cell in row] for row in rows]
    columns = list(zip(headings, *cells, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    are_numbers = [all(_is_number(cell) for cell in column[1:]) for column in columns]
    text = Text(no_wrap=True, overflow="ellipsis")
    for number, row in enumerate([headings, *cells]):
        line = Text(end="")
        for cell, width, is_number in zip(row, widths, are_numbers, strict=True):
            space = " " * (width - cell_len(cell))
            style = "bold" if number == 0 else (styles or {}).get(cell.partition(" ")[0], "")
            line.append(f"{space}{cell}  " if is_number else f"{cell}{space}  ", style)
        line.rstrip()
        text.append_text(line).append("\n")
    return text


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(",", "").replace("/", "").isdigit()
