"""What `autobatcher run` tells at its end: for people, and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..money.receipt import Receipt, amount_text
from ..money.receipt_text import sentence
from ..progress import Progress, shortened
from .arrivals import Arrivals

MOST_NAMED = 5
"""How many batches are named. The file of --summary-json has all that are remembered."""

LONGEST_ID = 80

NO_REQUEST = "no request came: does the command read OPENAI_BASE_URL?"
OTHER_KEY = "all requests came with another key: does the command read OPENAI_API_KEY?"
NOT_BATCHABLE = "requests came, but none that can be batched."


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A command that has ended.

    Attributes:
        exit_code: the command's own, or what a shell says of one that cannot be started.
        was_started: whether it could be started.
        tally: the proxy's `Tally`.
        receipt: what was paid; None for a rehearsal.
        arrivals: what came to the proxy.
    """

    exit_code: int
    was_started: bool
    tally: Any
    progress: Progress
    receipt: Receipt | None
    arrivals: Arrivals

    @property
    def withdrawn(self) -> int:
        """How many requests nobody waits for any more."""
        return int(self.tally.requests - self.tally.answered - self.tally.failed)


def summary_rows(summary: Summary) -> list[str]:
    """The lines for people: totals, what was paid, and what to look at if nothing came."""
    lines = [f"{name:9} {value}" for name, value in _rows(summary)]
    return [*lines, *_advice(summary)]


def _rows(summary: Summary) -> Iterator[tuple[str, str]]:
    tally, progress = summary.tally, summary.progress
    outcomes = f"{tally.answered:,} answered, {tally.failed:,} failed, {summary.withdrawn:,} withdrawn"
    yield "requests", f"{tally.requests:,} ({outcomes})"
    yield "batches", f"{progress.submitted_batches:,} ({progress.cancelled_batches:,} cancelled at the end)"
    if summary.receipt is not None and progress.batches:
        yield "batch ids", _named(list(progress.batches), progress.submitted_batches)
    if tally.deadlines_missed or tally.lanes.keys() - {"batch"}:
        counts = [f"{count:,} {lane}" for lane, count in sorted(tally.lanes.items())]
        yield "lanes", f"{', '.join(counts) or 'none'} ({tally.deadlines_missed:,} deadlines missed)"
    yield "tokens", f"{tally.input_tokens:,} in, {tally.output_tokens:,} out"
    if summary.receipt is not None:
        yield "cost", sentence(summary.receipt)
    yield "time", f"{progress.seconds:.1f} s"


def _named(ids: list[str], count: int) -> str:
    names = ", ".join(shortened(each, LONGEST_ID) for each in ids[:MOST_NAMED])
    return f"{names} and {count - MOST_NAMED:,} more" if count > MOST_NAMED else names


def _advice(summary: Summary) -> Iterator[str]:
    if summary.tally.requests:
        return
    arrivals = summary.arrivals
    if not arrivals.requests:
        yield NO_REQUEST
    elif arrivals.refused_keys == arrivals.requests:
        yield OTHER_KEY
    else:
        yield NOT_BATCHABLE


def summary_document(summary: Summary) -> dict[str, Any]:
    """The same for programs. Amounts are texts, in USD; null without a price, and in a rehearsal."""
    tally, progress = summary.tally, summary.progress
    return {
        "exit_code": summary.exit_code,
        "was_started": summary.was_started,
        "is_rehearsal": summary.receipt is None,
        "requests": tally.requests,
        "answered": tally.answered,
        "failed": tally.failed,
        "withdrawn": summary.withdrawn,
        "deadlines_missed": tally.deadlines_missed,
        "lanes": dict(sorted(tally.lanes.items())),
        "batches_submitted": progress.submitted_batches,
        "batches_cancelled": progress.cancelled_batches,
        "batches": [_batch(batch) for batch in progress.batches.values()],
        "input_tokens": tally.input_tokens,
        "output_tokens": tally.output_tokens,
        "seconds": round(progress.seconds, 1),
        **_money(summary.receipt),
    }


def _batch(batch: Any) -> dict[str, Any]:
    return {
        "id": batch.id,
        "status": batch.status,
        "requests": batch.total,
        "done": batch.done,
        "failed": batch.failed,
    }


def _money(receipt: Receipt | None) -> dict[str, Any]:
    total = None if receipt is None else receipt.total
    is_priced = total is not None and (total.requests > total.unpriced or not total.requests)
    is_listed = total is not None and is_priced and total.saving is not None
    return {
        "currency": "USD",
        "cost": amount_text(total.cost) if total is not None and is_priced else None,
        "list_price": amount_text(total.list_price) if total is not None and is_listed else None,
        "saving": amount_text(total.saving) if total is not None and is_listed else None,
        "unpriced_requests": 0 if total is None else total.unpriced,
        "uncertain_requests": 0 if total is None else total.uncertain,
    }
