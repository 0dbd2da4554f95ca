"""Aligned tables without borders for people, JSON lines for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

Styles = dict[str, str]
"""The style of a cell, by the first word in it."""


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]], styles: Styles | None = None) -> Text:
    """The rows under their headings; columns of numbers are right-aligned. Pure."""
    printable = [[plain(cell) for cell in row] for row in rows]
    columns = list(zip(headings, *printable, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    are_numbers = [all(_is_number(cell) for cell in column[1:]) for column in columns]
    text = Text(no_wrap=True, overflow="ellipsis")
    for number, row in enumerate([headings, *printable]):
        for cell, width, is_number in zip(row, widths, are_numbers, strict=True):
            space = " " * (width - cell_len(cell))
            style = "bold" if number == 0 else (styles or {}).get(cell.partition(" ")[0], "")
            text.append(f"{space}{cell}  " if is_number else f"{cell}{space}  ", style)
        text.rstrip()
        text.append("\n")
    return text


def plain(cell: str) -> str:
    """Foreign text (ids, prompts, answers) without control characters."""
    return "".join(letter if letter.isprintable() else " " for letter in cell)


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(",", "").replace("/", "").isdigit()


def print_text(text: Text | str) -> None:
    """Print to stdout, in colour on a terminal."""
    Console().print(text, soft_wrap=True, markup=False, highlight=False, end="" if isinstance(text, Text) else "\n")


def print_json(fields: dict[str, Any]) -> None:
    """Print one line, keys sorted."""
    print(json.dumps(fields, sort_keys=True), flush=True)
