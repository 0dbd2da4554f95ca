"""What one process was billed, added up for metrics."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from decimal import Decimal

from ..money.exact import ZERO, total
from ..money.ledger import Fate
from ..money.receipt import Receipt
from .labels import LANES, lane_label

FATES: tuple[str, ...] = tuple(fate.value for fate in Fate if fate is not Fate.UNKNOWN)
"""What certainly was billed. Of the rest, parts become certain, or turn out to be nothing."""


class BilledSums:
    """A receipt by few labels. All amounts are in USD.

    Args:
        label_of: returns the label of a model.

    Attributes:
        costs, requests, unpriced: by lane and fate.
        model_costs: by model, lane and fate.
        uncertain_cost, uncertain_requests: what may have been billed, at most; nobody knows yet.
        list_price: what the delivered requests would have cost in real time.
        saving: None if no list price is known.
    """

    def __init__(self, receipt: Receipt, label_of: Callable[[str], str]) -> None:
        begun = {(lane, fate): ZERO for lane in LANES for fate in FATES}
        self.costs: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal, begun)
        self.requests: Counter[tuple[str, str]] = Counter(dict.fromkeys(begun, 0))
        self.unpriced: Counter[tuple[str, str]] = Counter(dict.fromkeys(begun, 0))
        self.model_costs: defaultdict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
        self.uncertain_cost: Decimal = ZERO
        self.uncertain_requests: int = 0
        self.list_price: Decimal = receipt.total.list_price
        self.saving: Decimal | None = receipt.total.saving
        for row in receipt.rows:
            cost = row.cost or ZERO
            if row.fate not in FATES:
                self.uncertain_cost = total((self.uncertain_cost, cost))
                self.uncertain_requests += row.requests
                continue
            key = (lane_label(row.lane), row.fate)
            self.costs[key] = total((self.costs[key], cost))
            self.requests[key] += row.requests
            self.unpriced[key] += row.unpriced
            by_model = (label_of(row.model), *key)
            self.model_costs[by_model] = total((self.model_costs[by_model], cost))
