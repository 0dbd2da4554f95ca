"""The table of `autobatcher prices`. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import Any

from rich.text import Text

from ..money.price_list import PROVIDER
from ..money.rates import Rates, Tier, UnknownPrice
from ..printable import printable
from .wrapping import wrapped

_HEADINGS = ("", "input", "cached", "output", "from", "as of")
_RATES = ("input", "cached", "output", "cache_write")
_INDENT = "  "
_NUMBERS = slice(1, 4)


@dataclass(frozen=True, slots=True)
class PriceRow:
    """What one model costs on one lane, for one completion window."""

    model: str
    endpoint: str
    lane: str
    window: str | None
    price: Rates | UnknownPrice

    def fields(self) -> dict[str, Any]:
        """The row as JSON: prices are text, in USD per million tokens, and null if they are unknown."""
        price = self.price
        said = _fields(price) if isinstance(price, Rates) else {"unknown": price.reason}
        return {
            **dict.fromkeys((*_RATES, "source", "detail", "as_of", "unknown")),
            "tiers": [],
            "model": self.model,
            "endpoint": self.endpoint,
            "lane": self.lane,
            "completion_window": self.window,
            **said,
        }


def price_table(rows: Iterable[PriceRow], *, room: int) -> Text:
    """Each model with its lanes, and what the provider's own prices are from.

    Args:
        room: how wide it may be. What the rates are from is left out where there is no room.
    """
    kept = list(rows)
    widths = _widths([_HEADINGS, *(cells for row in kept for cells in _cells(row))], room)
    text = Text()
    for model, of_model in groupby(kept, key=lambda row: row.model):
        text.append("\n".join(wrapped(printable(model), room)) + "\n", "bold")
        for row in of_model:
            _append(text, row, widths, room)
    if kept:
        head = Text(_aligned(_HEADINGS, widths) + "\n", "bold")
        text = head.append_text(text).append("USD per million tokens\n")
    for source in _sources(kept):
        text.append("\n".join(_hanging(f"{PROVIDER}: {source}", _INDENT, room)) + "\n")
    return text


def _append(text: Text, row: PriceRow, widths: Sequence[int], room: int) -> None:
    if isinstance(row.price, UnknownPrice):
        begin = f"{_INDENT}{_lane(row)}".ljust(widths[0] + 2)
        lines = _hanging(f"{begin}unknown: {row.price.reason}", " " * len(begin), room)
    else:
        lines = [_aligned(cells, widths) for cells in _cells(row)]
    text.append("\n".join(lines) + "\n")


def _cells(row: PriceRow) -> list[tuple[str, ...]]:
    """A line, and one more for each tier of long requests."""
    price = row.price
    if isinstance(price, UnknownPrice):
        return [(_INDENT + _lane(row), "", "", "", "", "")]
    first = (_INDENT + _lane(row), *_numbers(price), price.source, str(price.as_of or "-"))
    return [first, *((f"{_INDENT * 2}over {tier.over:,}", *_numbers(tier), "", "") for tier in price.tiers)]


def _lane(row: PriceRow) -> str:
    return row.lane if row.window is None else f"{row.lane} {row.window}"


def _numbers(rates: Rates | Tier) -> tuple[str, str, str]:
    return _number(rates.input), "-" if rates.cached is None else _number(rates.cached), _number(rates.output)


def _number(rate: Decimal) -> str:
    """At least two digits after the point, and no zeros beyond."""
    whole, _, rest = f"{rate:f}".partition(".")
    return f"{whole}.{rest.rstrip('0').ljust(2, '0')}"


def _widths(lines: Sequence[Sequence[str]], room: int) -> list[int]:
    """Of the columns for which there is room: the date goes first, then the source."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    while len(widths) > _NUMBERS.stop and sum(widths) + 2 * (len(widths) - 1) > room:
        widths.pop()
    return widths


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    right = range(len(widths))[_NUMBERS]
    shown = zip(cells, widths, strict=False)
    aligned = (cell.rjust(width) if at in right else cell.ljust(width) for at, (cell, width) in enumerate(shown))
    return "  ".join(aligned).rstrip()


def _sources(rows: Sequence[PriceRow]) -> list[str]:
    noted = (row.price for row in rows if isinstance(row.price, Rates) and row.price.source == PROVIDER)
    return list(dict.fromkeys(rates.detail for rates in noted))


def _hanging(line: str, indent: str, room: int) -> list[str]:
    return textwrap.wrap(line, room, subsequent_indent=indent, break_on_hyphens=False)


def _fields(rates: Rates) -> dict[str, Any]:
    return {
        **_prices(rates),
        "tiers": [{"over": tier.over, **_prices(tier)} for tier in rates.tiers],
        "source": rates.source,
        "detail": rates.detail or None,
        "as_of": None if rates.as_of is None else rates.as_of.isoformat(),
    }


def _prices(rates: Rates | Tier) -> dict[str, str | None]:
    told = {name: getattr(rates, name) for name in _RATES}
    return {name: None if rate is None else f"{rate:f}" for name, rate in told.items()}
