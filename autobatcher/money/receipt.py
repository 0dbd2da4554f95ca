"""What was paid, what it would have cost one by one, and what for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from . import exact
from .exact import ZERO
from .ledger import Entry, Fate, Sort, input_in
from .price_list import PriceList
from .rates import Rates
from .usage import Usage

PricesOf = Callable[[str, str], PriceList]
"""The prices of a provider, by its name and base URL."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiptRow:
    """Executions of one model on one endpoint and lane, with one fate. Amounts are in USD, exact, and None if unknown.

    Attributes:
        lane: "batch", "flex", "realtime", or a service tier such as "priority".
        completion_window: of batches; "" on other lanes.
        fate: "delivered"; or "discarded", "paid_twice", "stated", "unknown": money for nothing, or perhaps.
        requests: how many.
        unpriced: how many of them are not in `cost`: their price is unknown, or their answer named no tokens.
        tokens: of those whose answers named them.
        cost: what was billed for the others; of the fate "unknown", what was billed at most.
        list_price: what they would have cost in real time.
        source: where the prices are from.
        batch_ids: the batches, as far as they are remembered.
    """

    provider: str
    model: str
    endpoint: str
    lane: str
    completion_window: str
    fate: str
    requests: int
    unpriced: int
    tokens: Usage
    cost: Decimal | None
    list_price: Decimal | None
    source: str
    batch_ids: tuple[str, ...]

    @property
    def saving(self) -> Decimal | None:
        """What was saved; negative for what was paid for nothing."""
        return None if self.cost is None or self.list_price is None else exact.less(self.list_price, self.cost)

    @property
    def is_unlisted(self) -> bool:
        """Whether nobody knows what was saved: there is a price, and no list price to compare it with."""
        return self.fate == Fate.DELIVERED.value and self.cost is not None and self.list_price is None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it: amounts as texts, because JSON numbers are no decimals."""
        return {
            "provider": self.provider,
            "model": self.model,
            "endpoint": self.endpoint,
            "lane": self.lane,
            "completion_window": self.completion_window,
            "fate": self.fate,
            "requests": self.requests,
            "unpriced_requests": self.unpriced,
            "tokens": self.tokens._asdict(),
            "cost": amount_text(self.cost),
            "list_price": amount_text(self.list_price),
            "saving": amount_text(self.saving),
            "prices_from": self.source,
            "batch_ids": list(self.batch_ids),
        }


class Total(NamedTuple):
    """Rows together.

    Attributes:
        cost: of what was certainly executed, and has a known price.
        uncertain: how many requests may have been executed; nobody knows. They are not in what follows.
        list_price: what the delivered ones of them would have cost in real time.
        unpriced: how many requests have no known price.
        unlisted: how many delivered requests have a price, and no known list price.
        unlisted_cost: what those cost: nobody knows what was saved there.
    """

    requests: int
    uncertain: int
    unpriced: int
    tokens: Usage
    cost: Decimal
    list_price: Decimal
    unlisted: int
    unlisted_cost: Decimal

    @property
    def saving(self) -> Decimal | None:
        """What was saved, as far as list prices are known; negative if more was paid than real time would have cost.

        None if no list price is known.
        """
        if self.unlisted and not self.list_price:
            return None
        return exact.less(self.list_price, exact.less(self.cost, self.unlisted_cost))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was paid. Amounts are in USD.

    Attributes:
        rows: the dearest first.
    """

    rows: tuple[ReceiptRow, ...]

    @property
    def total(self) -> Total:
        """All rows together."""
        rows, usage = [row for row in self.rows if row.fate != Fate.UNKNOWN.value], Usage()
        unlisted = [row for row in rows if row.is_unlisted]
        for row in rows:
            usage = usage.plus(row.tokens)
        return Total(
            sum(row.requests for row in rows),
            sum(row.requests for row in self.rows if row.fate == Fate.UNKNOWN.value),
            sum(row.unpriced for row in rows),
            usage,
            exact.total(row.cost or ZERO for row in rows),
            exact.total(row.list_price or ZERO for row in rows),
            sum(row.requests - row.unpriced for row in unlisted),
            exact.total(row.cost or ZERO for row in unlisted),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        total = self.total
        return {
            "currency": "USD",
            "requests": total.requests,
            "uncertain_requests": total.uncertain,
            "unpriced_requests": total.unpriced,
            "unlisted_requests": total.unlisted,
            "tokens": total.tokens._asdict(),
            "cost": amount_text(total.cost),
            "list_price": amount_text(total.list_price),
            "saving": amount_text(total.saving),
            "rows": [row.as_dict() for row in self.rows],
        }


def receipt_of(entries: Iterable[tuple[Sort, Entry]], prices_of: PricesOf) -> Receipt:
    """Price what was billed. May import a library of prices when first called, which takes a moment."""
    alike: dict[Sort, list[tuple[int, Entry]]] = {}
    for sort, entry in entries:
        alike.setdefault(sort._replace(bracket=0), []).append((sort.bracket, entry))
    rows = [_row(sort, found, prices_of(sort.provider, sort.base_url)) for sort, found in alike.items()]
    return Receipt(
        tuple(sorted(rows, key=lambda row: (exact.less(ZERO, row.cost or ZERO), row.model, row.endpoint, row.lane)))
    )


def _row(sort: Sort, entries: list[tuple[int, Entry]], prices: PriceList) -> ReceiptRow:
    rates = prices.rates(
        sort.model, lane=sort.lane, completion_window=sort.completion_window or None, endpoint=sort.endpoint
    )
    full = prices.list_rates(sort.model, endpoint=sort.endpoint) if sort.fate is Fate.DELIVERED else None
    tokens, requests, untold, ids = Usage(), 0, 0, dict[str, None]()
    for _, entry in entries:
        tokens, requests, untold = tokens.plus(entry.usage), requests + entry.requests, untold + entry.untold
        ids.update(entry.batch_ids)
    told = [(sort._replace(bracket=bracket), entry.usage) for bracket, entry in entries]
    has_any = requests > untold or tokens != Usage()
    return ReceiptRow(
        provider=sort.provider,
        model=sort.model,
        endpoint=sort.endpoint,
        lane=sort.lane,
        completion_window=sort.completion_window,
        fate=sort.fate.value,
        requests=requests,
        unpriced=requests if rates is None else untold,
        tokens=tokens,
        cost=exact.total(priced(rates, *each) for each in told) if rates is not None and has_any else None,
        list_price=exact.total(priced(full, *each) for each in told) if full is not None and has_any else None,
        source="" if rates is None else rates.source,
        batch_ids=tuple(ids),
    )


def priced(rates: Rates, sort: Sort, usage: Usage) -> Decimal:
    """What executions of a sort cost at these rates; at most, if nobody knows whether they were executed."""
    cost = rates.most if sort.fate is Fate.UNKNOWN else rates.cost
    return cost(usage, input_in(sort.bracket))


def amount_text(amount: Decimal | None) -> str | None:
    """An exact amount of dollars, without an exponent."""
    if amount is None:
        return None
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
