"""The batches of a proxy as rows of `/status`: which of them, and what is said of each. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from typing import Any

from ..engine.lanes.lane import Lane
from ..printable import printable
from ..progress import BatchProgress
from .batch_costs import BatchCost

FEW_ROWS, MOST_ROWS = 50, 500
"""How many rows there are, and how many whoever asks for all of them gets."""

_NO_COST = BatchCost(None, 0)


def chosen(batches: Mapping[str, BatchProgress], most: int) -> list[BatchProgress]:
    """At most so many batches, the newest ones first. None that runs is left out for one that has ended."""
    running_first = heapq.nsmallest(most, batches.values(), key=lambda batch: (batch.ended is not None, -batch.number))
    return sorted(running_first, key=lambda batch: -batch.number)


def batch_rows(
    batches: Iterable[BatchProgress], now: float, remaining: Mapping[str, float], costs: Mapping[str, BatchCost]
) -> list[dict[str, Any]]:
    """A row for each batch, as JSON types.

    Args:
        now: seconds since the proxy began.
        remaining: within how many more seconds it is probably done, by its id.
        costs: what it was billed, by its id.
    """
    return [_row(batch, now, remaining.get(batch.id), costs.get(batch.id, _NO_COST)) for batch in batches]


def _row(batch: BatchProgress, now: float, remaining: float | None, cost: BatchCost) -> dict[str, Any]:
    age = (now if batch.ended is None else batch.ended) - batch.begun
    return {
        "id": batch.id,
        "status": batch.status,
        "endpoint": batch.endpoint,
        "models": [printable(model) for model in batch.models],
        "models_left_out": batch.model_count - len(batch.models),
        "lane": Lane.BATCH.value,
        "completion_window": batch.completion_window,
        "total": batch.total,
        "done": batch.done,
        "answered": batch.done - batch.failed,
        "failed": batch.failed,
        "age_seconds": round(age, 1),
        "remaining_seconds": None if remaining is None else round(remaining, 1),
        "has_ended": batch.ended is not None,
        "cost": cost.cost,
        "unpriced_requests": cost.unpriced,
    }
