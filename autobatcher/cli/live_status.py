"""What a command tells of its run, beside or in place of the live progress (../display)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from msgspec.structs import replace
from rich.console import Console
from rich.text import Text

from .. import events
from ..display.displays import Terminal
from ..display.snapshot import ProgressSnapshot
from ..engine.units import format_requests
from ..printable import printable
from ..progress import BatchProgress, shortened


@dataclass(frozen=True)
class Screen:
    """Where a run is told of: with a live picture on a terminal, in lines elsewhere."""

    console: Console
    is_live: bool

    def say(self, line: str) -> None:
        """Print a line, above the live picture if there is one."""
        self.console.print(Text(printable(line)), soft_wrap=True)

    def service_progress(self) -> Terminal | Literal[False]:
        """What a client is given that serves whatever comes: it is idle at times, and nobody knows what comes."""
        return _OfService(self.console) if self.is_live else False

    def progress(self, *, rate: float = 1.0, calls: int = 0) -> Terminal | Literal[False]:
        """What a client is given as `progress`.

        Args:
            rate: how many seconds of the client's pass for each of the viewer's.
            calls: how many are expected.
        """
        return Terminal(self.console, rate=rate, calls=calls) if self.is_live else False


class _OfService(Terminal):
    """Without a rate and the time left, in which idle time would count."""

    def __call__(self, snapshot: ProgressSnapshot) -> None:
        super().__call__(replace(snapshot, per_second=0.0, remaining_seconds=None))


def screen_on(console: Console) -> Screen:
    """The screen on this console."""
    return Screen(console, is_live=console.is_terminal and os.environ.get("TERM") != "dumb")


def plain_line(event: events.AnyBatchEvent, batch: BatchProgress | None) -> str | None:
    """An event as a line of text; None if it is not worth one."""
    match event:
        case events.BatchSubmitted() if batch is not None:
            return f"batch {batch.number}: submitted, {format_requests(batch.total)} ({batch.id})"
        case events.BatchProgress() if batch is not None and batch.is_news:
            return f"batch {batch.number}: {batch.words}, {batch.done} of {batch.total} done{_and_failed(batch)}"
        case events.BatchCompleted() | events.BatchTerminal() if batch is not None:
            return (
                f"batch {batch.number}: {batch.words} after {event.elapsed_seconds:.1f} s"
                f", {batch.done} of {batch.total} done{_and_failed(batch)}"
            )
        case events.BatchSubmissionFailed():
            return f"{format_requests(event.request_count)} could not be submitted: {shortened(event.error)}"
        case events.RequestsEscalated():
            way = f"from the {event.from_lane} lane to {event.to_lane}"
            return f"{format_requests(event.request_count)} went on {way}: {shortened(event.reason)}"
        case events.BatchCancelledUpstream():
            return f"batch {event.batch_id}: cancelled upstream"
        case events.BatchCancelFailed():
            return f"batch {event.batch_id}: NOT cancelled, may still run and cost: {shortened(event.error)}"
    return None


def _and_failed(batch: BatchProgress) -> str:
    return f", {batch.failed} of them failed" if batch.failed else ""
