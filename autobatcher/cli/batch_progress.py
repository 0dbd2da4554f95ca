"""How far `autobatcher batch` is: on a terminal, in lines, or as JSON."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from .. import BatchOpenAI
from ..client.costs import pricing_of
from ..client.progress import priced
from ..display.displays import LINE_SECONDS, Calls, Display, Lines, Terminal
from ..display.snapshot import ProgressSnapshot, snapshot_of
from ..display.thread import shown
from ..engine.event_loop import call_in_task_soon, running_loop
from ..money.receipt import amount_text
from ..printable import json_line
from ..progress import Progress
from .live_status import Screen


def display_on(screen: Screen, write_json: Callable[[str], None] | None) -> Display:
    """Where the progress is shown: as JSON if there is a function that takes lines of it."""
    if write_json is not None:
        return Calls(partial(_write, write_json), LINE_SECONDS)
    return Terminal(screen.console) if screen.is_live else Lines(screen.say)


def progress_shown(progress: Progress, client: BatchOpenAI, display: Display) -> AbstractAsyncContextManager[None]:
    """Show the progress while the block runs, and where it ended."""
    return shown(display, partial(_take, progress, client), partial(call_in_task_soon, running_loop()))


def _take(progress: Progress, client: BatchOpenAI, is_final: bool) -> Callable[[], ProgressSnapshot]:
    statistics = client.batch_statistics()
    requests, done = progress.requests or 0, progress.answered + progress.failed
    snapshot = snapshot_of(
        progress,
        queued=0 if statistics is None else statistics.queued_requests,
        usual_seconds=None if statistics is None else statistics.remaining_seconds,
        are_more_to_come=statistics is None or statistics.waiting_requests < requests - done,
        is_final=is_final,
    )
    return partial(priced, snapshot, pricing_of(client))


def _write(write_json: Callable[[str], None], snapshot: ProgressSnapshot) -> None:
    write_json(json_line(fields_of(snapshot)))


def fields_of(snapshot: ProgressSnapshot) -> dict[str, Any]:
    """How far a run is, for programs. Amounts are texts, in USD."""
    left = snapshot.remaining_seconds
    return {
        "answered": snapshot.answered,
        "batches": snapshot.submitted_batches,
        "batches_running": snapshot.running_batches,
        "cost": amount_text(snapshot.cost),
        "failed": snapshot.failed,
        "input_tokens": snapshot.input_tokens,
        "list_price": amount_text(snapshot.list_price),
        "output_tokens": snapshot.output_tokens,
        "per_second": snapshot.per_second,
        "requests": snapshot.requests,
        "seconds": round(snapshot.seconds, 1),
        "seconds_left": None if left is None or snapshot.is_final else round(left),
    }
