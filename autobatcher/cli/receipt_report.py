"""What `autobatcher receipt` prints: charges in groups, and as a table. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from rich.text import Text

from ..engine.journal.file import KeptCharge
from ..money import exact
from ..money.ledger import Fate
from ..money.receipt import PricesOf, Receipt, ReceiptRow, receipt_of
from ..money.receipt_text import dollars, percentage, sentence
from .table_layout import Column
from .text_table import text_table

Groups = list[tuple[str, Receipt]]

NONE = "-"
"""The group of what belongs to none."""

MOST_NAMED = 20
"""How many kinds of requests without a price are named."""

_HOUR = 3_600

_FATES = {
    Fate.DISCARDED.value: "paid for, and nobody waited for the answers any more",
    Fate.PAID_TWICE.value: "paid twice",
    Fate.STATED.value: "in the provider's statement, and in no answer",
    Fate.UNKNOWN.value: "at most, perhaps: nobody knows whether they were executed",
}
_OPEN = "in batches that are not over: run the program again, or see `autobatcher status`"

_COLUMNS = (
    Column("requests", cut="never"),
    Column("tokens in", cut="never", leaves=2),
    Column("tokens out", cut="never", leaves=1),
    Column("cost", cut="never"),
    Column("list price", cut="never", leaves=4),
    Column("saved", cut="never", leaves=3),
)


def whole_receipt(charges: Iterable[KeptCharge], prices_of: PricesOf) -> Receipt:
    """The receipt of all charges together."""
    return receipt_of(((charge.sort, charge.entry) for charge in charges), prices_of)


def by_group(charges: Iterable[KeptCharge], by: str, prices_of: PricesOf) -> Groups:
    """A receipt for each group: days in order, all others with the dearest first.

    Args:
        by: "model", "day", "batch" or a key of metadata.
    """
    found: dict[str, list[KeptCharge]] = {}
    group_of = _GROUPS.get(by) or (lambda charge: _metadata(charge, by))
    for charge in charges:
        found.setdefault(group_of(charge), []).append(charge)
    groups = [(key, whole_receipt(its, prices_of)) for key, its in found.items()]
    return sorted(groups) if by == "day" else sorted(groups, key=lambda group: -group[1].total.cost)


def _day(charge: KeptCharge) -> str:
    return datetime.fromtimestamp(charge.hour * _HOUR, UTC).date().isoformat()


def _metadata(charge: KeptCharge, key: str) -> str:
    value = json.loads(charge.metadata).get(key)
    return NONE if value is None else str(value)


_GROUPS: dict[str, Callable[[KeptCharge], str]] = {
    "model": lambda charge: " ".join((charge.sort.model, charge.sort.lane, charge.sort.completion_window)).strip(),
    "day": _day,
    "batch": lambda charge: next(iter(charge.entry.batch_ids), NONE),
}


def receipt_text(groups: Groups, whole: Receipt, of_open: Receipt, by: str, *, room: int | None) -> Text:
    """A line for each group with what was delivered, lines of their own for the rest, and the total.

    Args:
        of_open: the part of it that is of batches and calls that are not over.
        room: how wide the table may be; None if that does not matter.
    """
    parts = []
    delivered = [(key, rows) for key, receipt in groups if (rows := _rows(receipt, Fate.DELIVERED.value))]
    if delivered:
        columns = (Column(by, cut="middle", least=12), *_COLUMNS)
        parts += [text_table(columns, [(key, *_cells(rows)) for key, rows in delivered], room=room), Text("\n")]
    parts += [Text(f"{line}\n") for line in _apart(whole, of_open)]
    return Text("").join([*parts, Text(sentence(whole) + "\n", style="bold")])


def _rows(receipt: Receipt, fate: str) -> list[ReceiptRow]:
    return [row for row in receipt.rows if row.fate == fate]


def _cells(rows: list[ReceiptRow]) -> tuple[str, ...]:
    total = Receipt(tuple(rows)).total
    is_priced, saving = total.requests > total.unpriced, total.saving
    is_compared = is_priced and saving is not None
    return (
        f"{total.requests:,}",
        f"{total.tokens.input:,}",
        f"{total.tokens.output:,}",
        dollars(total.cost if is_priced else None),
        dollars(total.list_price) if is_compared else NONE,
        percentage(saving, total.list_price) if is_compared and saving is not None else NONE,
    )


def _apart(whole: Receipt, of_open: Receipt) -> Iterator[str]:
    """What was not delivered, and what has no price."""
    for fate, what in _FATES.items():
        if rows := _rows(whole, fate):
            yield f"{_amount(rows)}: {what}"
    if of_open.rows:
        yield f"of these {_amount(of_open.rows)}: {_OPEN}"
    unpriced = [row for row in whole.rows if row.unpriced]
    for row in unpriced[:MOST_NAMED]:
        lane = " ".join((row.lane, row.completion_window)).strip()
        yield f"{_counted(row.unpriced)} of unknown price: {row.model} ({lane}), {row.endpoint}"
    if len(unpriced) > MOST_NAMED:
        yield f"and of {len(unpriced) - MOST_NAMED:,} more kinds"


def _amount(rows: Sequence[ReceiptRow]) -> str:
    costs = [row.cost for row in rows if row.cost is not None]
    return f"{_counted(sum(row.requests for row in rows))}, {dollars(exact.total(costs) if costs else None)}"


def _counted(requests: int) -> str:
    return f"{requests:,} request{'' if requests == 1 else 's'}"
