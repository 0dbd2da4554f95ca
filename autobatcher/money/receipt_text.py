"""A receipt as text: for a terminal, and as Markdown. Pure."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Context, Decimal

from ..printable import printable
from . import exact
from .receipt import Receipt, ReceiptRow, Total

CENT = Decimal("0.01")
_SMALL, _DIGITS = Decimal(1), 4
_ROUNDING = Context(prec=100, rounding=ROUND_HALF_UP)

MOST_NAMED = 100
"""How many rows and batches are named. A summary of a GitHub job may have a megabyte."""

_SPECIAL = re.compile(r"[\\`*_{}\[\]<>()#|~]")

_FATES = {
    "discarded": "paid, and nobody waited for the answers any more",
    "paid_twice": "paid twice",
    "stated": "in the provider's statement, and in no answer",
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


def sentence(receipt: Receipt, *, tells_uncertain: bool = True) -> str:
    """The receipt in one line.

    Args:
        tells_uncertain: whether it has the executions that nobody knows of, such as those of batches that run on.
    """
    total = receipt.total
    is_told = total.uncertain and tells_uncertain
    uncertain = f"; {total.uncertain:,} more may have been executed" if is_told else ""
    if not total.requests:
        return "nothing was billed" + uncertain
    if total.unpriced == total.requests:
        return f"{_requests(total.requests)} of unknown price{uncertain}"
    unpriced = f"; {_requests(total.unpriced)} of unknown price" if total.unpriced else ""
    priced = _requests(total.requests - total.unpriced)
    return f"{dollars(total.cost)} for {priced}{_saved(total)}{unpriced}{uncertain}"


def _saved(total: Total) -> str:
    saving = total.saving
    if saving is None:
        return "; the list price is unknown"
    share = percentage(saving, total.list_price)
    unlisted = f"; the list price of {_requests(total.unlisted)} is unknown" if total.unlisted else ""
    of_some = f", {dollars(total.cost - total.unlisted_cost)} of it" if total.unlisted else ""
    saved = f" ({dollars(saving)} saved{', ' + share if share else ''})"
    return f"{of_some} instead of {dollars(total.list_price)}{saved}{unlisted}"


def _requests(count: int) -> str:
    return f"{count:,} request{'' if count == 1 else 's'}"


def markdown(receipt: Receipt, title: str = "What the batches cost") -> str:
    """The receipt as Markdown, for a summary of a CI job."""
    lines = [f"### {title}", "", sentence(receipt) + ".", ""]
    if receipt.rows:
        lines += [_line(_HEAD), _line(["---", "---", "---", *["---:"] * (len(_HEAD) - 3)])]
        lines += [_line(_cells(row)) for row in receipt.rows[:MOST_NAMED]]
        lines += _rest(len(receipt.rows), "rows")
        batches = list(dict.fromkeys(batch_id for row in receipt.rows for batch_id in row.batch_ids))
        lines += ["", f"Batches: {', '.join(map(_escaped, batches[:MOST_NAMED]))}"] if batches else []
        lines += _rest(len(batches), "batches")
    return "\n".join([*lines, ""])


def _rest(count: int, what: str) -> list[str]:
    return ["", f"and {count - MOST_NAMED:,} more {what}"] if count > MOST_NAMED else []


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
    return "| " + " | ".join(map(_escaped, cells)) + " |"


def _escaped(text: str) -> str:
    """Words of strangers, such as names of models, without a meaning in Markdown or HTML."""
    return _SPECIAL.sub(r"\\\g<0>", printable(text))
