"""What a program that ends because of Ctrl-C is told: what was cancelled, what runs on, and how to take it up.

There is no signal handler here. Servers that handle signals themselves end their clients in another way, and hear
nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator

from .. import events
from ..printable import printable
from .batch.leaving import SHUTDOWN_SECONDS
from .batch.phase import Ending
from .batcher import Batcher
from .event_loop import holds_interrupt, interrupt_probe
from .tally import Tally

LATELY_SECONDS = SHUTDOWN_SECONDS + 5.0

_SHOWN = 3


class Remains:
    """What became of batches lately. Observes the engine's events."""

    def __init__(self) -> None:
        self._fates: deque[tuple[float, type[events.BatchEvent], str]] = deque(maxlen=1_000)

    def observe(self, event: events.BatchEvent) -> None:
        """Take an event."""
        if isinstance(event, events.BatchLeft | events.BatchCancelledUpstream | events.BatchCancelFailed):
            self._fates.append((time.monotonic(), type(event), event.batch_id))

    def of(self, kind: type[events.BatchEvent]) -> list[str]:
        """The batches for which there was such an event. (Callers leave, and with them batches, before an engine.)"""
        since = time.monotonic() - LATELY_SECONDS
        return [batch_id for moment, fate, batch_id in self._fates if fate is kind and moment >= since]


class Interruption:
    """Sees whether an engine ends because of Ctrl-C, and tells the user then."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self._remains = Remains()
        self._is_noted = False
        self._is_interrupted = interrupt_probe()
        batcher.observers.append(self._remains.observe)

    def note(self, error: BaseException | None) -> None:
        """A block that uses the engine ended with this exception."""
        self._is_noted = self._is_noted or holds_interrupt(error)

    def tell(self) -> None:
        """Print a line to stderr if there is something to tell. Call it after the shutdown, in the engine's task."""
        batcher = self._batcher
        if batcher.ending is Ending.WELL or not batcher.tally.requests or sys.stderr is None:
            return
        if self._is_noted or self._is_interrupted():
            line = interruption_line(batcher.tally, self._remains, batcher.settings.journal)
            print(printable(line), file=sys.stderr, flush=True)


def interruption_line(tally: Tally, remains: Remains, journal: str | os.PathLike[str] | None) -> str:
    """The line, for these calls and batches."""
    cancelled = tally.requests - tally.answered - tally.failed
    failed = f", {tally.failed:,} failed" if tally.failed else ""
    calls = f"{tally.answered:,} of {tally.requests:,} calls answered{failed}, {cancelled:,} cancelled"
    return " ".join((f"autobatcher: interrupted. {calls}.", *_fates(remains, journal)))


def _fates(remains: Remains, journal: str | os.PathLike[str] | None) -> Iterator[str]:
    left, uncertain = remains.of(events.BatchLeft), remains.of(events.BatchCancelFailed)
    if cancelled := remains.of(events.BatchCancelledUpstream):
        yield f"Cancelled upstream: {_named(cancelled)}."
    if uncertain:
        yield f"Perhaps still running, and billed: {_named(uncertain)}; look at the provider's dashboard."
    if left:
        yield f"Left running upstream, and billed: {_named(left)}."
        if journal is None:
            yield (
                "Nobody will read their answers: cancel them with client.batches.cancel(id), or next time give the "
                "client journal=, so that a rerun takes them up, or cancel_active_batches_on_close=True."
            )
    if journal is not None:
        yield f"Run the program again with the same journal ({os.fspath(journal)}) to go on."
    elif not (left or uncertain):
        yield "Nothing is left running upstream."


def _named(batch_ids: list[str]) -> str:
    more = f" and {len(batch_ids) - _SHOWN:,} more" if len(batch_ids) > _SHOWN else ""
    noun = "batch" if len(batch_ids) == 1 else f"{len(batch_ids):,} batches:"
    return f"{noun} {', '.join(batch_ids[:_SHOWN])}{more}"
