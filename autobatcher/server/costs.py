"""What the proxy's calls cost: priced in a worker thread, for `/receipt`, the page and the metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import msgspec
import trio

from ..client.costs import Costs, looks_up_prices, pricing_of
from ..errors import JournalError
from ..money.exact import ZERO
from ..money.library_prices import import_prices
from ..money.receipt import Receipt, ReceiptRow, amount_text

logger: logging.Logger = logging.getLogger("autobatcher")

Key = TypeVar("Key", tuple[str, str], tuple[str, str, str])

SHOWN_ROWS = 50

PART_OF_TIME, MOST_SECONDS = 0.1, 5.0
"""How much of the time is spent on prices at most, and how old they may be for the sake of that."""


class LaneCost(NamedTuple):
    """What was billed on one lane, with one fate, in USD, and how many requests have no price."""

    lane: str
    fate: str
    cost: Decimal
    unpriced: int


class Told(NamedTuple):
    """A receipt in all forms in which the proxy tells it.

    Attributes:
        document: the whole receipt, as JSON.
        fields: what the page shows, as JSON types: totals, and the dearest models.
        lanes: for metrics, whose labels must be few.
        list_price, saving: in USD; `saving` is None if no list price is known.
    """

    document: bytes
    fields: dict[str, Any]
    lanes: tuple[LaneCost, ...]
    list_price: Decimal
    saving: Decimal | None


class PricedCosts:
    """The receipt of a client that is at work.

    To price may import a library, and callers choose how many models there are. So it never happens on the event loop,
    once at a time, and not for long.

    Attributes:
        told: the newest one.
    """

    def __init__(self, client: Costs) -> None:
        self.told: Told = told_of(Receipt(()))
        self._client = client
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
                self.told, took = await trio.to_thread.run_sync(
                    _price, pricing_of(self._client), abandon_on_cancel=True
                )
            except JournalError as error:  # the last one is told
                logger.warning("autobatcher: %s", error.message)
                took = MOST_SECONDS
            self._stale_at = trio.current_time() + min(took / PART_OF_TIME, MOST_SECONDS)


def _price(pricing: Callable[[], Receipt]) -> tuple[Told, float]:
    """The receipt, and how long it took, in seconds; without the import, which comes once."""
    import_prices()
    begun = time.monotonic()
    return told_of(pricing()), time.monotonic() - begun


async def learn_prices(client: Costs, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Import the library of prices in a worker thread. It has started when no call needs a price that is not there."""
    is_urgent = looks_up_prices(client)
    if not is_urgent:
        task_status.started()
    await trio.to_thread.run_sync(import_prices, abandon_on_cancel=True)
    if is_urgent:
        task_status.started()


def told_of(receipt: Receipt) -> Told:
    """A receipt in all forms."""
    whole = receipt.as_dict()
    models = _alike(receipt.rows, lambda row: (row.model, row.lane, row.fate))
    lanes = _alike(receipt.rows, lambda row: (row.lane, row.fate))
    total = receipt.total
    fields = {
        **{name: value for name, value in whole.items() if name not in ("rows", "tokens")},
        "models": [_model_fields(rows) for rows in islice(models.values(), SHOWN_ROWS)],
        "models_left_out": max(len(models) - SHOWN_ROWS, 0),
    }
    costs = (LaneCost(*key, _sum(row.cost for row in rows), _unpriced(rows)) for key, rows in sorted(lanes.items()))
    return Told(msgspec.json.encode(whole), fields, tuple(costs), total.list_price, total.saving)


def _alike(rows: Iterable[ReceiptRow], key_of: Callable[[ReceiptRow], Key]) -> dict[Key, list[ReceiptRow]]:
    """Rows with the same key together. Their order stays: the dearest first."""
    alike: dict[Key, list[ReceiptRow]] = {}
    for row in rows:
        alike.setdefault(key_of(row), []).append(row)
    return alike


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
