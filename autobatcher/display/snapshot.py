"""How far things are, as a frozen value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from itertools import islice
from math import isfinite

import msgspec

from ..progress import BatchProgress, Progress

SHOWN_BATCHES = 12
"""A snapshot has this many batches, the newest ones."""


class BatchSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One batch upstream.

    Attributes:
        number: counts from 1 in order of submission.
        status: in the upstream's words.
        total: how many requests it has.
        done: how many of them are done, the failed ones included.
        failed: how many of them have failed.
        seconds: how long it has run, or ran.
        remaining_seconds: how long it probably still takes; None if nobody knows, or if it has ended.
    """

    number: int
    id: str
    status: str
    total: int
    done: int
    failed: int
    seconds: float
    has_ended: bool
    remaining_seconds: float | None = None


class ProgressSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """How far a client is.

    Attributes:
        seconds: since its engine began.
        requests: how many calls were made so far, or are expected in all.
        answered: calls with an answer.
        failed: calls with an error.
        waiting: calls with neither.
        queued: those of them that are in no batch yet.
        withdrawn: calls that nobody waits for any more: cancelled, or cut off by the client's end.
        escalated: calls that went on to another lane.
        input_tokens: of the answered calls, as far as the answers name them.
        output_tokens: likewise.
        submitted_batches: how many batches there were so far.
        running_batches: how many of them have not ended.
        batches: the newest ones, the last one submitted at the end.
        per_second: calls with an outcome, so far.
        remaining_seconds: until all are done, probably; None if nobody knows.
        cost: what was billed, in USD, as far as prices are known; None if none is.
        list_price: what that would have cost in real time; None if unknown.
        is_final: whether this is the last snapshot: the client is closed.
    """

    seconds: float
    requests: int
    answered: int
    failed: int
    waiting: int
    withdrawn: int
    queued: int
    escalated: int
    input_tokens: int
    output_tokens: int
    submitted_batches: int
    running_batches: int
    batches: tuple[BatchSnapshot, ...]
    per_second: float = 0.0
    remaining_seconds: float | None = None
    cost: Decimal | None = None
    list_price: Decimal | None = None
    is_final: bool = False


def snapshot_of(
    progress: Progress,
    *,
    queued: int,
    waiting: int | None = None,
    withdrawn: int = 0,
    usual_seconds: Mapping[str, float] | None = None,
    are_more_to_come: bool = False,
    cost: Decimal | None = None,
    is_final: bool = False,
) -> ProgressSnapshot:
    """A snapshot of `progress`.

    Args:
        queued, waiting: calls that are in no batch, and those without an outcome; None for all that are expected.
        usual_seconds: how long the running batches still take if they are like earlier ones, by their ids. Before a
            batch of this run has ended, these are little more than public figures, and are not shown.
        are_more_to_come: whether some calls were not made yet. Then the time left follows from the rate so far.
    """
    now, done = progress.seconds, progress.answered + progress.failed
    running = [batch for batch in progress.batches.values() if batch.ended is None]
    has_ended = len(running) < len(progress.batches)
    usual = usual_seconds if usual_seconds is not None and has_ended else {}
    left = {batch.id: _seconds_left(batch, now, usual) for batch in running}
    known = [seconds for seconds in left.values() if seconds is not None]
    remaining = max(known) if known and len(known) == len(left) else None
    if are_more_to_come:
        remaining = now * max((progress.requests or 0) - done, 0) / done if done else None
    newest = list(islice(reversed(progress.batches.values()), SHOWN_BATCHES))
    return ProgressSnapshot(
        seconds=round(now, 3),
        requests=done + (waiting or 0) + withdrawn if progress.requests is None else progress.requests,
        answered=progress.answered,
        failed=progress.failed,
        waiting=max((progress.requests or done) - done, 0) if waiting is None else waiting,
        withdrawn=withdrawn,
        queued=queued,
        escalated=progress.escalated,
        input_tokens=progress.input_tokens,
        output_tokens=progress.output_tokens,
        submitted_batches=progress.submitted_batches,
        running_batches=len(running),
        batches=tuple(_batch(batch, now, left.get(batch.id)) for batch in reversed(newest)),
        per_second=round(done / max(now, 0.1), 3),
        remaining_seconds=remaining,
        cost=cost,
        is_final=is_final,
    )


def _seconds_left(batch: BatchProgress, now: float, usual_seconds: Mapping[str, float]) -> float | None:
    """At the batch's own rate, once it has one; else as usual."""
    if batch.done:
        return (now - batch.begun) * max(batch.total - batch.done, 0) / batch.done
    seconds = usual_seconds.get(batch.id)
    return seconds if seconds is not None and isfinite(seconds) else None


def _batch(batch: BatchProgress, now: float, remaining: float | None) -> BatchSnapshot:
    return BatchSnapshot(
        number=batch.number,
        id=batch.id,
        status=batch.words,
        total=batch.total,
        done=batch.done,
        failed=batch.failed,
        seconds=(now if batch.ended is None else batch.ended) - batch.begun,
        has_ended=batch.ended is not None,
        remaining_seconds=remaining,
    )
