"""A receipt as text: for a terminal, and as Markdown. Pure."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal

from . import exact
from .receipt import Receipt, ReceiptRow

CENT = Decimal("0.01")
_SMALL, _DIGITS = Decimal(1), 4
_ROUNDING = Context(prec=100, rounding=ROUND_HALF_UP)

_FATES = {
    "discarded": "paid, and nobody waited for the answers any more",
    "paid_twice": "paid twice",
    "unknown": "perhaps executed: nobody knows",
}
_HEAD = (
    "model",
    "endpoint",
    "lane",
    "requests",
    "input",
    "cached",
    "output",
    "reasoning",
    "cost",
    "list price",
    "saved",
)


def dollars(amount: Decimal | None) -> str:
    """An amount for people: cents, or four significant digits below a dollar."""
    if amount is None:
        return "unknown"
    if amount == 0 or amount.copy_abs() >= _SMALL:
        return f"${_ROUNDING.quantize(amount, CENT):,f}".replace("$-", "-$")
    places = max(_DIGITS - 1 - amount.adjusted(), 2) if amount.copy_abs() < CENT else _DIGITS
    return f"${_ROUNDING.quantize(amount, _ROUNDING.scaleb(_SMALL, -places)):f}".replace("$-", "-$")


def percentage(part: Decimal, whole: Decimal) -> str:
    """A part of a whole, such as "50 %"; "" of nothing."""
    return f"{_ROUNDING.divide(exact.times(part, 100), whole):.0f} %" if whole else ""


def sentence(receipt: Receipt) -> str:
    """The receipt in one line."""
    total = receipt.total
    uncertain = f"; {total.uncertain:,} more may have been executed" if total.uncertain else ""
    if not total.requests:
        return "nothing was billed" + uncertain
    unpriced = f"; {total.unpriced:,} requests of unknown price" if total.unpriced else ""
    if total.unpriced == total.requests:
        return f"{total.requests:,} requests, all of unknown price{uncertain}"
    saved = percentage(total.saving, total.list_price)
    return (
        f"{dollars(total.cost)} for {total.requests:,} requests instead of {dollars(total.list_price)}"
        f" ({dollars(total.saving)} saved{', ' + saved if saved else ''}){unpriced}{uncertain}"
    )


def markdown(receipt: Receipt, title: str = "What the batches cost") -> str:
    """The receipt as Markdown, for a summary of a CI job."""
    lines = [f"### {title}", "", sentence(receipt) + ".", ""]
    if receipt.rows:
        lines += [_line(_HEAD), _line(["---", "---", "---", *["---:"] * (len(_HEAD) - 3)])]
        lines += [_line(_cells(row)) for row in receipt.rows]
        batches = [batch_id for row in receipt.rows for batch_id in row.batch_ids]
        lines += ["", f"Batches: {', '.join(dict.fromkeys(batches))}"] if batches else []
    return "\n".join([*lines, ""])


def _cells(row: ReceiptRow) -> list[str]:
    tokens = row.tokens
    why = _FATES.get(row.fate)
    return [
        row.model + (f" ({why})" if why else ""),
        row.endpoint,
        " ".join(part for part in (row.lane, row.completion_window) if part),
        f"{row.requests:,}",
        *(f"{count:,}" for count in (tokens.input, tokens.cached, tokens.output, tokens.reasoning)),
        dollars(row.cost),
        dollars(row.list_price) if row.fate == "delivered" else "",
        dollars(row.saving) if row.fate == "delivered" else "",
    ]


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
