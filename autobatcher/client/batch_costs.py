"""What single batches of a client were billed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from ..money.ledger import Entry, Sort
from ..money.receipt import PricesOf, Receipt, receipt_of
from .costs import Costs


def batch_pricing_of(client: Costs, batch_ids: Iterable[str]) -> Callable[[], dict[str, Receipt]]:
    """What each of these batches was billed that this client read, in two steps, as `pricing_of` does.

    Batches without a bill are left out.
    """
    billed = client._spending.batch_ledgers.snapshot(batch_ids)
    return partial(_priced_each, billed, client._spending.prices.at)


def _priced_each(billed: dict[str, tuple[tuple[Sort, Entry], ...]], prices_of: PricesOf) -> dict[str, Receipt]:
    return {batch_id: receipt_of(entries, prices_of) for batch_id, entries in billed.items()}
