"""The progress of a run, as plain lines or as a live picture.

`plain_line` and `live_picture` are pure functions of a `Progress` (../progress.py). Only `show` writes.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .. import events
from ..printable import printable
from ..progress import BatchProgress, Progress, shortened

REPAINT_SECONDS = 0.1
SHOWN_BATCHES = 12
"""The live picture shows this many batches, the newest ones."""

_BAR_WIDTH = 30
_STYLES = {"completed": "green", "failed": "red", "expired": "red", "cancelled": "yellow"}


# Plain lines


def plain_line(event: events.AnyBatchEvent, batch: BatchProgress | None) -> str | None:
    """An event as a line of text; None if it is not worth one."""
    match event:
        case events.BatchSubmitted() if batch is not None:
            return f"batch {batch.number}: submitted, {batch.total} requests ({batch.id})"
        case events.BatchProgress() if batch is not None and batch.is_news:
            return f"batch {batch.number}: {batch.words}, {batch.done} of {batch.total} done{_and_failed(batch)}"
        case events.BatchCompleted() | events.BatchTerminal() if batch is not None:
            return (
                f"batch {batch.number}: {batch.words} after {event.elapsed_seconds:.1f} s"
                f", {batch.done} of {batch.total} done{_and_failed(batch)}"
            )
        case events.BatchSubmissionFailed():
            return f"{event.request_count} requests could not be submitted: {shortened(event.error)}"
        case events.RequestsEscalated():
            way = f"from the {event.from_lane} lane to {event.to_lane}"
            return f"{event.request_count} requests go on {way}: {shortened(event.reason)}"
        case events.BatchCancelledUpstream():
            return f"batch {event.batch_id}: cancelled upstream"
        case events.BatchCancelFailed():
            return f"batch {event.batch_id}: NOT cancelled, may still run and cost: {shortened(event.error)}"
    return None


def _and_failed(batch: BatchProgress) -> str:
    return f", {batch.failed} of them failed" if batch.failed else ""


# The live picture


def live_picture(progress: Progress, *, queued: int, now: float) -> RenderableType:
    """The state as a picture for a terminal.

    Args:
        queued: number of calls not yet submitted in a batch.
        now: seconds since the start of the run.
    """
    return Group(_headline(progress, queued, now), _batch_table(progress, now))


def _headline(progress: Progress, queued: int, now: float) -> Text:
    text = Text.assemble(
        (f"{progress.answered}", "bold green"),
        " calls answered   " if progress.requests is None else f" of {progress.requests} calls answered   ",
        (f"{queued}", "bold"),
        " queued   ",
    )
    if progress.failed:
        text.append(f"{progress.failed} failed   ", "bold red")
    if progress.escalated:
        text.append(f"{progress.escalated} on to another lane   ", "yellow")
    running = sum(batch.ended is None for batch in progress.batches.values())
    return text.append(f"{progress.submitted_batches} batches, {running} running   {now:.1f} s", "dim")


def _batch_table(progress: Progress, now: float) -> Table:
    table = Table.grid(padding=(0, 2))
    for justify in ("right", "left", "right", "left", "right"):
        table.add_column(justify=justify, no_wrap=True)
    batches = list(progress.batches.values())
    for batch in batches[-SHOWN_BATCHES:]:
        table.add_row(*_batch_row(batch, now))
    if progress.submitted_batches > SHOWN_BATCHES:
        table.add_row("", Text(f"and {progress.submitted_batches - SHOWN_BATCHES} before these", "dim"))
    return table


def _batch_row(batch: BatchProgress, now: float) -> list[RenderableType]:
    seconds = (now if batch.ended is None else batch.ended) - batch.begun
    bar = ProgressBar(total=max(batch.total, 1), completed=batch.done, width=_BAR_WIDTH)
    status = Text(batch.words, _STYLES.get(batch.status, "cyan"))
    return [f"batch {batch.number}", bar, f"{batch.done}/{batch.total}", status, f"{seconds:.1f} s"]


# Showing it


@dataclass(frozen=True)
class Screen:
    """Where progress is shown: a live picture on a terminal, lines elsewhere."""

    console: Console
    is_live: bool

    def say(self, line: str) -> None:
        """Print a line, above the live picture if there is one."""
        self.console.print(Text(printable(line)), soft_wrap=True)


@asynccontextmanager
async def show(screen: Screen, picture: Callable[[], RenderableType]) -> AsyncGenerator[None]:
    """Repaint `picture()` on a live screen while the block runs. Its last state stays."""
    if not screen.is_live:
        yield
        return
    with Live(picture(), console=screen.console, auto_refresh=False, transient=False) as live:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_repaint, live, picture)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
                with contextlib.suppress(OSError):
                    live.update(picture(), refresh=True)


async def _repaint(live: Any, picture: Callable[[], RenderableType]) -> None:
    with contextlib.suppress(OSError):  # the terminal is gone
        while True:
            live.update(picture(), refresh=True)
            await trio.sleep(REPAINT_SECONDS)
