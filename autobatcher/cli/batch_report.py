"""What `autobatcher batch` says at its end, how to go on, and its exit code."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass

from ..display.sentence import counted
from ..money.receipt import Receipt
from ..money.receipt_text import sentence
from ..progress import Progress
from .batch_run import Counts
from .output import print_notice

ANSWERED, SOME_FAILED, NOTHING_SENT = 0, 1, 3
MOST_FAILURES_SHOWN = 3
MOST_NUMBERS_SHOWN = 10


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
    goes_on = run.received is not None and run.has_journal  # then nothing of it is lost
    cost = f"{'cost so far' if goes_on else 'cost'}: {sentence(run.receipt, tells_uncertain=not goes_on)}"
    for line in (*_reasons(run), cost, last):
        print_notice(f"autobatcher batch: {line}")
    return code


def _reasons(run: Ended) -> Iterator[str]:
    for message, count in run.progress.errors.most_common(MOST_FAILURES_SHOWN):
        yield f"{count:,} failed with {message}"
    for reason in run.counts.why_unsent.values():
        yield f"not sent: {reason}"


def _outcome(run: Ended) -> tuple[int, str]:
    """The exit code, and the last line."""
    counts, done = run.counts, _what_became(run)
    has_failed = counts.failed + counts.earlier_failed + counts.bad > 0
    has_answers = counts.answered + counts.failed + counts.earlier > 0
    again = "Run the same command again to go on" + (": nothing is paid twice." if run.has_journal else ".")
    if run.received is not None:
        return 128 + run.received, f"interrupted. {done}{_runs_on(run)}. {again}"
    if counts.unsent and has_answers:
        return SOME_FAILED, f"{done}. {again}"
    if counts.unsent or (has_failed and not has_answers):
        return NOTHING_SENT, "nothing could be sent. Put right what is said above, and run it again."
    if has_failed:
        return SOME_FAILED, f"{done}. {_about_failures(run)}"
    return ANSWERED, f"{done}."


def _what_became(run: Ended) -> str:
    """Of all lines of the input. The counts add up."""
    counts = run.counts
    answered, failed = counts.answered + counts.earlier - counts.earlier_failed, counts.failed + counts.earlier_failed
    parts = [f"{answered:,} answered"]
    if failed:
        parts.append(f"{failed:,} failed")
    if counts.bad:
        parts.append(f"{counts.bad:,} bad ({_named(counts.bad_numbers, counts.bad)})")
    if (left := counts.lines - answered - failed - counts.bad) > 0:
        parts.append(f"{left:,} {'without an answer yet' if run.received is not None else 'not sent'}")
    return f"{counted(counts.lines, 'line', 'lines')}: {', '.join(parts)}"


def _named(numbers: list[int], count: int) -> str:
    shown = ", ".join(map(str, sorted(numbers)[:MOST_NUMBERS_SHOWN]))
    return f"{'line' if count == 1 else 'lines'} {shown}{', ...' if count > MOST_NUMBERS_SHOWN else ''}"


def _runs_on(run: Ended) -> str:
    """The batches that the next run takes up."""
    running = [batch.total for batch in run.progress.batches.values() if batch.ended is None]
    if not running or not run.has_journal:
        return ""
    of_lines = f"of {counted(sum(running), 'line', 'lines')}"
    verb = "runs" if len(running) == 1 else "run"
    return f". {counted(len(running), 'batch', 'batches')} {of_lines} {verb} on at the provider"


def _about_failures(run: Ended) -> str:
    if not run.counts.failed + run.counts.earlier_failed:
        return "Correct the bad lines, and run the same command again."
    return f"To ask failed lines again, delete them from {run.failures}, and run the same command again."
