"""What `autobatcher serve` tells when it has stopped. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..display.sentence import counted

if TYPE_CHECKING:
    from ..server import Report  # slow to import


def stopped_line(report: Report, *, has_journal: bool) -> str:
    """What became of calls and batches."""
    return " ".join(("autobatcher serve: stopped.", *_sentences(report, has_journal=has_journal)))


def _sentences(report: Report, *, has_journal: bool) -> Iterator[str]:
    tally, counts = report.tally, report.batch_counts
    unanswered = tally.requests - tally.answered - tally.failed
    yield f"{counted(tally.answered, 'call', 'calls')} answered, {tally.failed:,} failed, {unanswered:,} given up."
    if cancelled := counts.ends["cancelled by us"]:
        yield f"Cancelled upstream: {counted(cancelled, 'batch', 'batches')}."
    if counts.failed_cancellations:
        batches = counted(counts.failed_cancellations, "batch", "batches")
        yield f"Perhaps still running, and billed: {batches}; look at the provider's dashboard."
    if counts.left:
        yield f"Left running upstream, and billed: {counted(counts.left, 'batch', 'batches')}."
    if has_journal:  # it may also have batches whose creation had no answer
        yield "A start with the same journal goes on."
    elif counts.left:
        yield "Nobody reads their answers."
    elif not counts.failed_cancellations:
        yield "Nothing is left running upstream."
