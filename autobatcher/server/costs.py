"""What the proxy's calls cost: priced in a worker thread, for `/receipt`, the page and the metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import msgspec
import trio

from ..client.costs import Costs, billed_models, looks_up_prices, own_pricing_of, pricing_of
from ..errors import JournalError
from ..money.exact import ZERO
from ..money.library_prices import import_prices
from ..money.receipt import Receipt, ReceiptRow, amount_text
from .billed_sums import BilledSums
from .labels import ModelLabels

logger: logging.Logger = logging.getLogger("autobatcher")

SHOWN_ROWS = 50

PART_OF_TIME, MOST_SECONDS = 0.1, 5.0
"""How much of the time is spent on prices at most, and how old they may be for the sake of that."""


class Told(NamedTuple):
    """A receipt in all forms in which the proxy tells it.

    Attributes:
        document: the whole receipt, as JSON.
        fields: what the page shows, as JSON types: totals, and the dearest models.
        own: what this process alone was billed, for metrics.
    """

    document: bytes
    fields: dict[str, Any]
    own: BilledSums


class PricedCosts:
    """The receipt of a client that is at work.

    To price may import a library, and callers choose how many models there are. So it never happens on the event loop,
    once at a time, and not for long.

    Args:
        labels: the models that metrics tell apart.

    Attributes:
        told: the newest one.
    """

    def __init__(self, client: Costs, labels: ModelLabels) -> None:
        self.told: Told = nothing_told()
        self._client = client
        self._labels = labels
        self._turn = trio.Lock()
        self._seen_at = self._stale_at = float("-inf")

    async def refresh(self) -> None:
        """Price what was billed by now, unless that was done just before.

        Cancelled: the thread ends by itself.
        """
        asked_at = trio.current_time()
        async with self._turn:
            if self._seen_at >= asked_at or trio.current_time() < self._stale_at:
                return
            self._seen_at = trio.current_time()
            try:
                self._learn_models()
                pricing = partial(_price, pricing_of(self._client), own_pricing_of(self._client), self._labels.of)
                self.told, took = await trio.to_thread.run_sync(pricing, abandon_on_cancel=True)
            except JournalError as error:  # the last one is told
                logger.warning("autobatcher: %s", error.message)
                took = MOST_SECONDS
            self._stale_at = trio.current_time() + min(took / PART_OF_TIME, MOST_SECONDS)

    def _learn_models(self) -> None:
        """Before their costs are added up: what was counted under one label must stay there."""
        for model in () if self._labels.is_full else billed_models(self._client):
            self._labels.learn(model)


def _price(
    pricing: Callable[[], Receipt], own: Callable[[], Receipt] | None, label_of: Callable[[str], str]
) -> tuple[Told, float]:
    """The receipt, and how long it took, in seconds; without the import, which comes once."""
    import_prices()
    begun = time.monotonic()
    receipt = pricing()
    sums = BilledSums(receipt if own is None else own(), label_of)
    return told_of(receipt, sums), time.monotonic() - begun


async def learn_prices(client: Costs, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Import the library of prices in a worker thread. It has started when no call needs a price that is not there."""
    is_urgent = looks_up_prices(client)
    if not is_urgent:
        task_status.started()
    await trio.to_thread.run_sync(import_prices, abandon_on_cancel=True)
    if is_urgent:
        task_status.started()


def nothing_told() -> Told:
    """An empty receipt."""
    return told_of(Receipt(()), BilledSums(Receipt(()), str))


def told_of(receipt: Receipt, own: BilledSums) -> Told:
    """A receipt in all forms."""
    whole = receipt.as_dict()
    models = _alike(receipt.rows)
    fields = {
        **{name: value for name, value in whole.items() if name not in ("rows", "tokens")},
        "models": [_model_fields(rows) for rows in islice(models, SHOWN_ROWS)],
        "models_left_out": max(len(models) - SHOWN_ROWS, 0),
    }
    return Told(msgspec.json.encode(whole), fields, own)


def _alike(rows: Iterable[ReceiptRow]) -> Collection[list[ReceiptRow]]:
    """Rows of one model, lane and fate together. Their order stays: the dearest first."""
    alike: dict[tuple[str, str, str], list[ReceiptRow]] = {}
    for row in rows:
        alike.setdefault((row.model, row.lane, row.fate), []).append(row)
    return alike.values()


def _model_fields(rows: list[ReceiptRow]) -> dict[str, Any]:
    """Rows of one model, lane and fate."""
    first = rows[0]
    is_priced = any(row.cost is not None for row in rows)
    is_listed = any(row.list_price is not None for row in rows)
    return {
        "model": first.model,
        "lane": first.lane,
        "fate": first.fate,
        "requests": sum(row.requests for row in rows),
        "unpriced_requests": _unpriced(rows),
        "cost": amount_text(_sum(row.cost for row in rows)) if is_priced else None,
        "list_price": amount_text(_sum(row.list_price for row in rows)) if is_listed else None,
    }


def _sum(amounts: Iterable[Decimal | None]) -> Decimal:
    return sum((amount for amount in amounts if amount is not None), ZERO)


def _unpriced(rows: Iterable[ReceiptRow]) -> int:
    return sum(row.unpriced for row in rows)
