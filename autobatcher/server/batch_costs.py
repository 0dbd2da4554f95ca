"""What single batches cost: priced in a worker thread, for the page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import trio

from ..client.batch_costs import batch_pricing_of
from ..client.costs import Costs
from ..money.ledger import Fate
from ..money.library_prices import import_prices
from ..money.receipt import Receipt, amount_text

PART_OF_TIME, LEAST_SECONDS = 0.05, 2.0
"""How much of the time is spent on this at most, and how often it is done."""


class BatchCost(NamedTuple):
    """What one batch was billed, in USD as text; None if no price is known. And how many requests have none."""

    cost: str | None
    unpriced: int


class BatchCosts:
    """What the batches of a client were billed by now, one by one. Priced when somebody looks, once at a time.

    Attributes:
        told: the newest costs, by batch id. Batches without a bill are left out.
    """

    def __init__(self, client: Costs) -> None:
        self.told: Mapping[str, BatchCost] = {}
        self._client = client
        self._turn = trio.Lock()
        self._next_at = float("-inf")

    async def refresh(self, batch_ids: Iterable[str]) -> None:
        """Price these batches, unless that was done just before.

        Cancelled: the thread ends by itself.
        """
        async with self._turn:
            if trio.current_time() < self._next_at:
                return
            pricing = batch_pricing_of(self._client, batch_ids)
            self.told, took = await trio.to_thread.run_sync(_price, pricing, abandon_on_cancel=True)
            self._next_at = trio.current_time() + max(LEAST_SECONDS, took / PART_OF_TIME)


def _price(pricing: Callable[[], dict[str, Receipt]]) -> tuple[dict[str, BatchCost], float]:
    """The costs, and how long it took, in seconds; without the import, which comes once."""
    import_prices()
    begun = time.monotonic()
    return {batch_id: _cost(receipt) for batch_id, receipt in pricing().items()}, time.monotonic() - begun


def _cost(receipt: Receipt) -> BatchCost:
    total = receipt.total
    is_priced = any(row.cost is not None and row.fate != Fate.UNKNOWN.value for row in receipt.rows)
    return BatchCost(amount_text(total.cost) if is_priced else None, total.unpriced)
