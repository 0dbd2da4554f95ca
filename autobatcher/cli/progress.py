"""How far a run is: folded from the client's lifecycle events, told as plain lines or as a live picture.

`Progress` is plain state; `plain_line` and `live_picture` are pure functions of it. `show` is the only thing here
that writes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .. import events
from .workload import Usage

REPAINT_SECONDS = 0.1
REMEMBERED_BATCHES = 200
SHOWN_BATCHES = 12
"""How many batches the live picture has room for; the newest ones are shown."""

TERMINAL_STATUSES = frozenset({"completed", "failed", "expired", "cancelled"})

_BAR_WIDTH = 30
_STYLES = {"completed": "green", "failed": "red", "expired": "red", "cancelled": "yellow"}


@dataclass
class BatchProgress:
    """One upstream batch; `number` counts from 1 in the order of submission."""

    number: int
    id: str
    total: int
    begun: float
    status: str = "submitted"
    done: int = 0
    failed: int = 0
    ended: float | None = None
    is_news: bool = True

    @property
    def quarter(self) -> int:
        """How many quarters of it are done."""
        return 4 * self.done // max(self.total, 1)

    @property
    def words(self) -> str:
        """Its status in words."""
        return self.status.replace("_", " ")

    def move(self, status: str, counts: events.RequestCounts) -> None:
        """Take what the upstream says of it; `is_news` is whether that is worth a line of its own."""
        before = self.status, self.quarter
        self.done, self.failed = counts.completed + counts.failed, counts.failed
        self.status = status
        self.is_news = before != (self.status, self.quarter) and status not in TERMINAL_STATUSES


@dataclass
class Progress:
    """One run. Times are seconds since it began.

    Attributes:
        requests: how many calls there will be; None if nobody knows.
        errors: what failed calls said, and how often each was said.
    """

    requests: int | None
    answered: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    batches: dict[str, BatchProgress] = field(default_factory=dict)
    submitted_batches: int = 0
    cancelled_batches: int = 0
    started_at: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long ago this was made."""
        return time.monotonic() - self.started_at

    def answer(self, usage: Usage) -> None:
        """A call was answered."""
        self.answered += 1
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens

    def fail(self, error: Exception) -> None:
        """A call failed."""
        self.failed += 1
        self.errors[f"{type(error).__name__}: {_shortened(str(error))}"] += 1

    def take(self, event: events.AnyBatchEvent, now: float) -> BatchProgress | None:
        """A lifecycle event happened; gives the batch that it moved, if it moved one."""
        match event:
            case events.BatchSubmitted():
                self.submitted_batches += 1
                batch = BatchProgress(self.submitted_batches, event.batch_id, event.request_count, now)
                self.batches[event.batch_id] = batch
                self._forget_old_ones()
                return batch
            case events.BatchProgress() | events.BatchCompleted() | events.BatchTerminal():
                return self._move(event, now)
            case events.BatchCancelledUpstream():
                self.cancelled_batches += 1
        return None

    def _forget_old_ones(self) -> None:
        """A proxy runs for months; what ended long ago is not shown any more."""
        ended = [batch.id for batch in self.batches.values() if batch.ended is not None]
        for batch_id in ended[: max(len(self.batches) - REMEMBERED_BATCHES, 0)]:
            del self.batches[batch_id]

    def _move(
        self, event: events.BatchProgress | events.BatchCompleted | events.BatchTerminal, now: float
    ) -> BatchProgress | None:
        batch = self.batches.get(event.batch_id)
        if batch is None:
            return None
        batch.move("completed" if isinstance(event, events.BatchCompleted) else event.status, event.counts)
        if not isinstance(event, events.BatchProgress):
            batch.ended = now
        return batch


def _shortened(text: str, length: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[:length] + "..."


# Plain lines


def plain_line(event: events.AnyBatchEvent, batch: BatchProgress | None) -> str | None:
    """What an event is worth saying where there is no terminal; None if nothing."""
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
            return f"{event.request_count} requests could not be submitted: {_shortened(event.error)}"
        case events.BatchCancelledUpstream():
            return f"batch {event.batch_id}: cancelled upstream"
        case events.BatchCancelFailed():
            return f"batch {event.batch_id}: NOT cancelled, it may still run and cost: {_shortened(event.error)}"
    return None


def _and_failed(batch: BatchProgress) -> str:
    return f", {batch.failed} of them failed" if batch.failed else ""


# The live picture


def live_picture(progress: Progress, *, queued: int, now: float) -> RenderableType:
    """The whole state as one picture for a terminal.

    Args:
        queued: how many calls wait for their batch to be submitted.
        now: seconds since the run began.
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
    """Where progress is shown: a live picture on a terminal, lines on anything else."""

    console: Console
    is_live: bool

    def say(self, line: str) -> None:
        """A line that stays; above the live picture, if there is one."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


@asynccontextmanager
async def show(screen: Screen, picture: Callable[[], RenderableType]) -> AsyncGenerator[None]:
    """Keep `picture()` on a live screen, as it is at the moment, while the block runs; its last state stays."""
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
                live.update(picture(), refresh=True)


async def _repaint(live: Any, picture: Callable[[], RenderableType]) -> None:
    while True:
        live.update(picture(), refresh=True)
        await trio.sleep(REPAINT_SECONDS)
