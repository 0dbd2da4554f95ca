"""The tables of docs/field.md, between `<!-- results -->` and `<!-- /results -->`."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from .cell import Cell, in_words
from .faults import BAD_DAYS, BadDay
from .peers import PEERS

PAGE = Path(__file__).parents[2] / "docs" / "field.md"
BEGIN, END = "<!-- results -->", "<!-- /results -->"


def write(page: Path, results: Mapping[str, Mapping[str, Any]], today: date) -> None:
    """Replaces the tables by those of these results: of each library, what it weighs, and its cells by bad day."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no {BEGIN} ... {END}")
    text = "\n\n".join(sections(results, today))
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def sections(results: Mapping[str, Mapping[str, Any]], today: date) -> Iterator[str]:
    versions = ", ".join(f"{name.split()[0]} {found['version']}" for name, found in results.items())
    yield f"Run on {today:%d %B %Y}, Python {platform.python_version()}: {versions}."
    yield _table(("", *results), (_row(day, results) for day in BAD_DAYS))
    yield "### What they weigh"
    yield _table(
        ("", *results),
        [
            ("lines of Python", *(f"{found['lines']:,}" for found in results.values())),
            ("distributions installed with it", *(str(found["distributions"]) for found in results.values())),
        ],
    )


def _row(day: BadDay, results: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    return (day.name, *(_cell(name, day, Cell(**found["cells"][day.name])) for name, found in results.items()))


def _cell(name: str, day: BadDay, cell: Cell) -> str:
    offered = PEERS[name].resumes or day.ends != "killed"
    return in_words(day, cell) if offered else f"not offered; run again: {in_words(day, cell)}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
