"""Shows how far a client is, if it was asked to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from msgspec.structs import replace

from ..display.choice import ProgressSetting, display_for
from ..display.displays import Display
from ..display.snapshot import ProgressSnapshot, snapshot_of
from ..display.thread import shown
from ..engine.batcher import Batcher
from ..engine.event_loop import call_in_task_soon, running_loop
from ..engine.hosting import Host
from ..engine.spending import Spending
from ..money.receipt import Receipt
from ..progress import Progress


def show_progress(host: Host, progress: ProgressSetting, spending: Spending) -> Host:
    """Show the progress of each engine of `host`, while it runs. Returns the host."""
    display = display_for(progress)
    if display is not None:
        host.while_running = partial(_shown, display, spending)
    return host


def _shown(display: Display, spending: Spending, batcher: Batcher) -> AbstractAsyncContextManager[None]:
    progress = Progress(requests=None)

    def observe(event: Any) -> None:
        progress.take(event, progress.seconds)

    batcher.observers.append(observe)
    take = partial(_take, batcher, progress, spending, display)
    return shown(display, take, partial(call_in_task_soon, running_loop()))


def _take(
    batcher: Batcher, progress: Progress, spending: Spending, display: Display, is_final: bool
) -> Callable[[], ProgressSnapshot]:
    tally, statistics = batcher.tally, batcher.statistics()
    progress.requests = max(tally.requests, display.calls)
    progress.answered, progress.failed = tally.answered, tally.failed
    progress.input_tokens, progress.output_tokens = spending.ledger.tokens
    usual = {name: seconds / display.rate for name, seconds in statistics.remaining_seconds.items()}
    snapshot = snapshot_of(
        progress,
        queued=statistics.queued_requests,
        waiting=tally.waiting,
        withdrawn=tally.withdrawn,
        usual_seconds=usual,
        is_final=is_final,
    )
    return partial(priced, snapshot, spending.pricing())


def priced(snapshot: ProgressSnapshot, price: Callable[[], Receipt]) -> ProgressSnapshot:
    """The same snapshot with its cost. Outside the event loop: `price` may import a library of prices."""
    total = price().total
    cost = total.cost if total.unpriced < total.requests else None
    is_listed = cost is not None and total.saving is not None
    return replace(snapshot, cost=cost, list_price=total.list_price if is_listed else None)
