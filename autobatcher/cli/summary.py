"""The table at the end of a demo, and the cost of its tokens. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rich.text import Text


@dataclass(frozen=True)
class Prices:
    """Assumed prices: dollars per million tokens, and the discount of batches."""

    input_dollars: float
    output_dollars: float
    batch_discount_percent: float

    def singly(self, input_tokens: int, output_tokens: int) -> float:
        """Dollars for these tokens in real time."""
        return (input_tokens * self.input_dollars + output_tokens * self.output_dollars) / 1_000_000

    def as_batches(self, input_tokens: int, output_tokens: int) -> float:
        """Dollars for the same tokens in batches."""
        return self.singly(input_tokens, output_tokens) * (1 - self.batch_discount_percent / 100)

    def __str__(self) -> str:
        return (
            f"${self.input_dollars:.2f} per million tokens in, ${self.output_dollars:.2f} out"
            f", batches {self.batch_discount_percent:g} % off"
        )


@dataclass(frozen=True)
class Summary:
    """Totals of a demo.

    Attributes:
        seconds: wall time, from the first call until the client was closed.
        escalated: how many calls went on to another lane; None if no deadline was to be kept.
        lanes: how many calls were billed on each lane, as far as known.
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


def summary_rows(summary: Summary, prices: Prices) -> list[tuple[str, str]]:
    """The rows of the table, as names and values."""
    tokens = summary.input_tokens, summary.output_tokens
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
        ("cost singly", dollars(prices.singly(*tokens))),
        ("cost as batches", dollars(prices.as_batches(*tokens))),
        ("at example prices", str(prices)),
    ]


def _lane_rows(summary: Summary) -> Iterator[tuple[str, str]]:
    if summary.escalated is not None:
        yield "escalated", f"{summary.escalated:,}"
        if summary.lanes:
            yield "billed", ", ".join(f"{count:,} {lane}" for lane, count in summary.lanes.items())


def dollars(amount: float) -> str:
    """An amount with its significant digits: "$12.30", "$0.0123"."""
    if 0 < amount < 0.0001:
        return "< $0.0001"
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.4f}"


def summary_text(rows: list[tuple[str, str]]) -> Text:
    """The rows as an aligned table without borders."""
    width = max(len(name) for name, _ in rows)
    text = Text()
    for name, value in rows:
        is_bad = name == "failed" and value != "0"
        text.append(f"{name:<{width}}  ", "bold").append(f"{value}\n", "red" if is_bad else "")
    return text
