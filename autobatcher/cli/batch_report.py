"""What `autobatcher batch` says at its end, how to go on, and its exit code."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass

from ..money.receipt import Receipt
from ..money.receipt_text import sentence
from ..progress import Progress
from .batch_run import Counts
from .output import print_notice

ANSWERED, SOME_FAILED, NOTHING_SENT = 0, 1, 3
MOST_FAILURES_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run that has ended.

    Attributes:
        received: the signal that ended it.
        failures: the file in which failures are.
    """

    counts: Counts
    progress: Progress
    receipt: Receipt
    received: signal.Signals | None
    failures: str
    has_journal: bool


def report(run: Ended) -> int:
    """Say what became of the lines, what it cost, and how to go on. Returns the exit code."""
    code, last = _outcome(run)
    for line in (*_reasons(run), f"cost: {sentence(run.receipt)}", last):
        print_notice(f"autobatcher batch: {line}")
    return code


def _reasons(run: Ended) -> Iterator[str]:
    for message, count in run.progress.errors.most_common(MOST_FAILURES_SHOWN):
        yield f"{count:,} failed with {message}"
    for reason in run.counts.why_unsent.values():
        yield f"not sent: {reason}"


def _outcome(run: Ended) -> tuple[int, str]:
    """The exit code, and the last line."""
    counts = run.counts
    failed = counts.failed + counts.earlier_failed + counts.bad
    has_answers = counts.answered + counts.failed + counts.earlier > 0
    done = f"{counts.answered + counts.earlier - counts.earlier_failed:,} of {counts.lines:,} lines are answered"
    again = "Run the same command again to go on" + (": nothing is paid twice." if run.has_journal else ".")
    if run.received is not None:
        return 128 + run.received, f"interrupted; {done}. {again}"
    if counts.unsent and has_answers:
        return SOME_FAILED, f"{done}; {counts.unsent:,} calls were not sent. {again}"
    if counts.unsent or (failed and not has_answers):
        return NOTHING_SENT, "nothing could be sent. Put right what is said above, and run it again."
    if failed:
        return SOME_FAILED, f"{done}, {failed:,} failed. {_about_failures(run)}"
    return ANSWERED, f"{done}."


def _about_failures(run: Ended) -> str:
    if not run.counts.failed + run.counts.earlier_failed:
        return "Put the bad lines right, and run the same command again."
    return f"To ask failed lines again, delete them from {run.failures}, and run the same command again."
