"""Shows how far a client is, if it was asked to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from functools import partial
from typing import Any

from ..display.choice import ProgressSetting, display_for
from ..display.displays import Display
from ..display.snapshot import ProgressSnapshot, snapshot_of
from ..display.thread import shown
from ..engine.batcher import Batcher
from ..engine.event_loop import call_in_task_soon, running_loop
from ..engine.hosting import Host
from ..progress import Progress

CostSoFar = Callable[[], Decimal | None]
"""What was billed so far, in USD; None if that is unknown. Called in the event loop: it must be quick."""


def show_progress(host: Host, progress: ProgressSetting, cost: CostSoFar = lambda: None) -> Host:
    """Show the progress of each engine of `host`, while it runs. Returns the host."""
    display = display_for(progress)
    if display is not None:
        host.while_running = partial(_shown, display, cost)
    return host


def _shown(display: Display, cost: CostSoFar, batcher: Batcher) -> AbstractAsyncContextManager[None]:
    progress = Progress(requests=None)

    def observe(event: Any) -> None:
        progress.take(event, progress.seconds)

    batcher.observers.append(observe)
    take = partial(_take, batcher, progress, cost, display)
    return shown(display, take, partial(call_in_task_soon, running_loop()))


def _take(batcher: Batcher, progress: Progress, cost: CostSoFar, display: Display, is_final: bool) -> ProgressSnapshot:
    tally, statistics = batcher.tally, batcher.statistics()
    progress.requests = max(tally.requests, display.calls)
    progress.answered, progress.failed = tally.answered, tally.failed
    usual = {name: seconds / display.rate for name, seconds in statistics.remaining_seconds.items()}
    return snapshot_of(
        progress,
        queued=statistics.queued_requests,
        waiting=tally.waiting,
        withdrawn=tally.withdrawn,
        usual_seconds=usual,
        cost=cost(),
        is_final=is_final,
    )
