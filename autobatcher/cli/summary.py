"""The table at the end of a demo. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from rich.text import Text

from ..money.receipt import Receipt
from ..money.receipt_text import dollars
from .wrapping import value_lines


@dataclass(frozen=True)
class Summary:
    """Totals of a demo.

    Attributes:
        seconds: wall time, from the first call until the client was closed.
        escalated: how many calls went on to another lane; None if no deadline was to be kept.
        lanes: how many calls were billed on each lane, as far as known.
        receipt: what they cost.
        prices: where its prices are from, in words; "" if it says so itself.
    """

    upstream: str
    requests: int
    answered: int
    failed: int
    batches: int
    input_tokens: int
    output_tokens: int
    seconds: float
    escalated: int | None = None
    lanes: Mapping[str, int] = field(default_factory=dict)
    receipt: Receipt = field(default_factory=partial(Receipt, ()))
    prices: str = ""


def summary_rows(summary: Summary) -> list[tuple[str, str]]:
    """The rows of the table, as names and values."""
    return [
        ("upstream", summary.upstream),
        ("requests", f"{summary.requests:,}"),
        ("answered", f"{summary.answered:,}"),
        ("failed", f"{summary.failed:,}"),
        ("batches", f"{summary.batches:,}"),
        *_lane_rows(summary),
        ("tokens in", f"{summary.input_tokens:,}"),
        ("tokens out", f"{summary.output_tokens:,}"),
        ("wall time", f"{summary.seconds:.1f} s"),
        *_cost_rows(summary),
    ]


def _cost_rows(summary: Summary) -> Iterator[tuple[str, str]]:
    """What the calls cost at the list price and as they were made, as far as there are prices."""
    total = summary.receipt.total
    is_priced = total.requests > total.unpriced
    yield "cost singly", dollars(total.list_price if is_priced and total.saving is not None else None)
    yield "cost as batches", dollars(total.cost if is_priced else None)
    if is_priced and total.unpriced:
        yield "not in it", f"{total.unpriced:,} of unknown price"
    if summary.prices:
        yield "at example prices", summary.prices
    elif is_priced:
        yield "prices from", ", ".join(sorted({row.source for row in summary.receipt.rows if row.source}))


def _lane_rows(summary: Summary) -> Iterator[tuple[str, str]]:
    if summary.escalated is not None:
        yield "escalated", f"{summary.escalated:,}"
        if summary.lanes:
            yield "billed", ", ".join(f"{count:,} {lane}" for lane, count in summary.lanes.items())


def summary_text(rows: list[tuple[str, str]], *, room: int | None = None) -> Text:
    """The rows as an aligned table without borders, so many columns wide."""
    text = Text()
    for name, value in value_lines(rows, room):
        is_bad = name.strip() == "failed" and value != "0"
        text.append(name, "bold").append(f"{value}\n", "red" if is_bad else "")
    return text
