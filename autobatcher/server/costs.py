"""What the proxy's calls cost: priced in a worker thread, for `/receipt`, the page and the metrics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import trio

from ..client.costs import Costs, looks_up_prices, pricing_of
from ..money.budget import ZERO
from ..money.library_prices import import_prices
from ..money.receipt import Receipt, ReceiptRow, amount_text

SHOWN_ROWS = 50

PART_OF_TIME, MOST_SECONDS = 0.1, 5.0
"""How much of the time is spent on prices at most, and how old a receipt may be for the sake of that."""


class PricedCosts:
    """The receipt of a client that is at work.

    To price may import a library, and callers choose how many models there are. So it never happens on the event loop,
    once at a time, and not for long.

    Attributes:
        receipt: the newest one.
    """

    def __init__(self, client: Costs) -> None:
        self.receipt: Receipt = Receipt(())
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
            self.receipt = await trio.to_thread.run_sync(pricing_of(self._client), abandon_on_cancel=True)
            took = trio.current_time() - self._seen_at
            self._stale_at = trio.current_time() + min(took / PART_OF_TIME, MOST_SECONDS)


async def learn_prices(client: Costs, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Import the library of prices in a worker thread. It has started when no call needs a price that is not there."""
    is_urgent = looks_up_prices(client)
    if not is_urgent:
        task_status.started()
    await trio.to_thread.run_sync(import_prices, abandon_on_cancel=True)
    if is_urgent:
        task_status.started()


def cost_fields(receipt: Receipt) -> dict[str, Any]:
    """What the page shows, as JSON types: totals, and the dearest models, each by lane and by what became of it."""
    whole = receipt.as_dict()
    rows = _by_model(receipt.rows)
    shown = [_row_fields(*each) for each in rows.items()]
    return {
        **{name: value for name, value in whole.items() if name not in ("rows", "tokens")},
        "models": shown[:SHOWN_ROWS],
        "models_left_out": max(len(rows) - SHOWN_ROWS, 0),
    }


def _by_model(rows: Iterable[ReceiptRow]) -> dict[tuple[str, str, str], list[ReceiptRow]]:
    """Rows that differ by endpoint, completion window or provider alone, together; the dearest first."""
    alike: dict[tuple[str, str, str], list[ReceiptRow]] = {}
    for row in rows:
        alike.setdefault((row.model, row.lane, row.fate), []).append(row)
    return alike


def _row_fields(key: tuple[str, str, str], rows: list[ReceiptRow]) -> dict[str, Any]:
    model, lane, fate = key
    costs = [row.cost for row in rows if row.cost is not None]
    lists = [row.list_price for row in rows if row.list_price is not None]
    return {
        "model": model,
        "lane": lane,
        "fate": fate,
        "requests": sum(row.requests for row in rows),
        "unpriced_requests": sum(row.unpriced for row in rows),
        "cost": amount_text(sum(costs, ZERO)) if costs else None,
        "list_price": amount_text(sum(lists, ZERO)) if lists else None,
    }
