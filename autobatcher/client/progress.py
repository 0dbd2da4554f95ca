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
from ..display.thread import Finish, shown
from ..engine.batcher import Batcher
from ..engine.event_loop import call_in_task_soon, running_loop
from ..engine.hosting import Host
from ..money.receipt import Receipt
from ..progress import Progress


def show_progress(host: Host, progress: ProgressSetting) -> Host:
    """Show the progress of each engine of `host`, while it runs. Returns the host."""
    display = display_for(progress)
    if display is not None:
        host.while_running = partial(_shown, display)
    return host


def _shown(display: Display, batcher: Batcher) -> AbstractAsyncContextManager[None]:
    progress = Progress(requests=None)

    def observe(event: Any) -> None:
        progress.take(event, progress.seconds)

    batcher.observers.append(observe)
    take = partial(_take, batcher, progress, display)
    return shown(display, take, partial(call_in_task_soon, running_loop()))


def _take(batcher: Batcher, progress: Progress, display: Display, is_final: bool) -> Finish:
    tally, statistics = batcher.tally, batcher.statistics()
    progress.requests = max(tally.requests, display.calls)
    progress.answered, progress.failed = tally.answered, tally.failed
    snapshot = snapshot_of(
        progress,
        queued=statistics.queued_requests,
        waiting=tally.waiting,
        withdrawn=tally.withdrawn,
        usual_seconds={name: seconds / display.rate for name, seconds in statistics.remaining_seconds.items()},
        are_more_to_come=tally.requests < display.calls,
        is_final=is_final,
    )
    return partial(priced, snapshot, batcher.spending.pricing())


def priced(snapshot: ProgressSnapshot, receipt: Callable[[], Receipt]) -> ProgressSnapshot:
    """The same snapshot, with tokens and cost. Outside the event loop: prices may have to be imported."""
    total = receipt().total
    has_cost = total.requests > total.unpriced
    return replace(
        snapshot,
        input_tokens=total.tokens.input,
        output_tokens=total.tokens.output,
        cost=total.cost if has_cost else None,
        list_price=total.list_price if has_cost and total.saving is not None else None,
    )
