"""A snapshot as a line of text, and its parts in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from .snapshot import ProgressSnapshot


def sentence(snapshot: ProgressSnapshot) -> str:
    """How far things are, in a line."""
    return ", ".join(_parts(snapshot))


def _parts(snapshot: ProgressSnapshot) -> Iterator[str]:
    yield f"{snapshot.answered:,} of {snapshot.requests:,} calls answered"
    if snapshot.failed:
        yield f"{snapshot.failed:,} failed"
    if snapshot.withdrawn:
        yield f"{snapshot.withdrawn:,} withdrawn"
    if snapshot.queued:
        yield f"{snapshot.queued:,} queued"
    if snapshot.escalated:
        yield f"{snapshot.escalated:,} on to another lane"
    yield batches_in_words(snapshot)
    if snapshot.input_tokens or snapshot.output_tokens:
        yield f"{snapshot.input_tokens:,} tokens in, {snapshot.output_tokens:,} out"
    if snapshot.cost is not None:
        yield cost_in_words(snapshot.cost)
    yield f"{seconds_in_words(snapshot.seconds)} so far"
    if snapshot.per_second:
        yield rate_in_words(snapshot.per_second)
    if snapshot.remaining_seconds is not None and not snapshot.is_final:
        yield f"about {seconds_in_words(snapshot.remaining_seconds)} left"


def seconds_in_words(seconds: float) -> str:
    """A time as people read it: "9.5 s", "4 min 10 s", "3 h 20 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def rate_in_words(per_second: float) -> str:
    """Calls a second, or a minute if they are few."""
    return f"{per_second:,.1f}/s" if per_second >= 0.1 else f"{60 * per_second:,.1f}/min"


def cost_in_words(amount: Decimal) -> str:
    """US dollars: cents, or what is worth saying of less than one."""
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.4f}"


def batches_in_words(snapshot: ProgressSnapshot) -> str:
    """How many batches there were, and are."""
    return f"{counted(snapshot.submitted_batches, 'batch', 'batches')}, {snapshot.running_batches:,} running"


def counted(count: int, one: str, many: str) -> str:
    """The count with its noun."""
    return f"{count:,} {one if count == 1 else many}"
