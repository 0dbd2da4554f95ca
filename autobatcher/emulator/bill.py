"""What was billed, in tokens and in dollars, to the last digit.

A line or a call is billed when it was executed and answered with a 2xx, by the usage that its answer said before any
fault. What failed, expired or was cancelled before that costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from functools import cached_property
from operator import add
from typing import Any, Literal, NamedTuple

from .prices import EXACT, Price, PriceList
from .tiers import Lane
from .usage import Usage, sum_up

MOST_MODELS, LONGEST_MODEL = 1_000, 200
OTHER_MODELS = "(other models)"

By = Literal["batch_id", "lane", "endpoint", "model", "window"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BillEntry:
    """Requests that were billed alike.

    Attributes:
        batch_id, window: empty outside batches.
        lane: the one that was charged, whatever was asked for.
        without_usage: how many of the requests cost nothing, because their answers had no usage: moderations, and
            calls that were forwarded in real time.
        cost: USD, not rounded.
        list_cost: what they would have cost in real time.
    """

    batch_id: str
    lane: Lane
    endpoint: str
    model: str
    window: str
    requests: int
    without_usage: int
    usage: Usage
    cost: Decimal
    list_cost: Decimal

    def as_dict(self) -> dict[str, Any]:
        """The entry as JSON has it: the cost is a text."""
        return {
            "batch_id": self.batch_id or None,
            "lane": self.lane,
            "endpoint": self.endpoint,
            "model": self.model,
            "completion_window": self.window or None,
            "requests": self.requests,
            "without_usage": self.without_usage,
            **_tokens(self.usage),
            "cost": f"{self.cost:f}",
            "list_cost": f"{self.list_cost:f}",
        }


@dataclass(frozen=True)
class Bill:
    """All that was billed."""

    entries: tuple[BillEntry, ...]

    @cached_property
    def total(self) -> Decimal:
        """USD, not rounded."""
        return _sum(entry.cost for entry in self.entries)

    @cached_property
    def list_total(self) -> Decimal:
        """What the same would have cost in real time."""
        return _sum(entry.list_cost for entry in self.entries)

    @cached_property
    def usage(self) -> Usage:
        return sum_up(entry.usage for entry in self.entries)

    @cached_property
    def requests(self) -> int:
        return sum(entry.requests for entry in self.entries)

    @property
    def by_batch(self) -> dict[str, Decimal]:
        """The cost of each batch that has any; "" for the calls outside batches."""
        return self.by("batch_id")

    def by(self, name: By) -> dict[str, Decimal]:
        """The cost of each batch, lane, endpoint, model or completion window."""
        values = dict.fromkeys(getattr(entry, name) for entry in self.entries)
        return {value: _sum(entry.cost for entry in self.entries if getattr(entry, name) == value) for value in values}

    def as_dict(self) -> dict[str, Any]:
        """The bill as JSON has it: amounts are texts."""
        return {
            "currency": "USD",
            "total": f"{self.total:f}",
            "list_total": f"{self.list_total:f}",
            "requests": self.requests,
            **_tokens(self.usage),
            "entries": [entry.as_dict() for entry in self.entries],
        }


class _Kind(NamedTuple):
    """What requests have in common that are summed up."""

    lane: Lane
    endpoint: str
    model: str
    price: int
    list_price: int
    """Their numbers in the list."""


@dataclass(slots=True)
class _Charge:
    requests: int = 0
    without_usage: int = 0
    usage: Usage = field(default_factory=Usage)


class Charges:
    """The charges of one batch, or of all calls outside batches, summed up as they come.

    The models beyond the first thousand, and those with endless names, are summed up as `OTHER_MODELS`.
    """

    def __init__(self, prices: PriceList, batch_id: str = "", window: str = "") -> None:
        self.batch_id = batch_id
        self.window = window
        self._prices = prices.whole
        self._sums: dict[_Kind, _Charge] = {}
        self._fitting: dict[tuple[Lane, str], tuple[int, ...]] = {}

    def add(self, lane: Lane, endpoint: str, model: str, usage: Usage | None) -> None:
        """Charges one request. `usage` is None if its answer has none."""
        tokens = usage or Usage()
        price, list_price = self._find(lane, model, tokens), self._find("realtime", model, tokens)
        name = model if (lane, model) in self._fitting else OTHER_MODELS
        kind = _Kind(lane, endpoint, name, price, list_price)
        charged = self._sums.get(kind)
        if charged is None:
            charged = self._sums[kind] = _Charge()
        charged.requests += 1
        charged.without_usage += usage is None
        charged.usage = Usage(*map(add, charged.usage, tokens))

    def bill(self) -> Bill:
        return Bill(tuple(self._entry(kind, charged) for kind, charged in self._sums.items()))

    @property
    def usage(self) -> Usage:
        """The tokens of all of them."""
        return sum_up(charged.usage for charged in self._sums.values())

    def _find(self, lane: Lane, model: str, tokens: Usage) -> int:
        """The number of the price of a request."""
        fitting = self._fitting.get((lane, model))
        if fitting is None:
            window = self.window if lane == "batch" else ""
            fitting = tuple(i for i, price in enumerate(self._prices) if price.fits(model, lane, window))
            if len(self._fitting) < 2 * MOST_MODELS and len(model) <= LONGEST_MODEL:
                self._fitting[lane, model] = fitting
        return next(number for number in fitting if _is_for(self._prices[number], tokens.input))

    def _entry(self, kind: _Kind, charged: _Charge) -> BillEntry:
        return BillEntry(
            batch_id=self.batch_id,
            lane=kind.lane,
            endpoint=kind.endpoint,
            model=kind.model,
            window=self.window,
            requests=charged.requests,
            without_usage=charged.without_usage,
            usage=charged.usage,
            cost=self._prices[kind.price].cost(charged.usage),
            list_cost=self._prices[kind.list_price].cost(charged.usage),
        )


def _is_for(price: Price, input_tokens: int) -> bool:
    return price.more_than is None or input_tokens > price.more_than


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    with localcontext(EXACT):
        return sum(amounts, Decimal())


def _tokens(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input,
        "cached_tokens": usage.cached,
        "output_tokens": usage.output,
        "reasoning_tokens": usage.reasoning,
        "cache_write_tokens": usage.cache_write,
    }
