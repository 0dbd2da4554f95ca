"""`autobatcher cancel`: cancel batches upstream."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from .. import events
from ..engine.batch.cancellation import Cancellation
from ..engine.batch.uncertain_creation import find_again
from ..engine.batch.upstream import UpstreamBatch
from ..engine.journal import BatchRecord
from ..engine.journal.file import Session
from ..engine.settings import Settings
from ..upstream.batch_api import LOOKUP_DELAYS
from ..upstream.batch_state import BatchState
from ..upstream.failures import GONE, UpstreamError
from ..upstream.patience import Patience
from .batch_table import name_of
from .engines import Engines, engine_fields
from .flags import JournalPlace, UsageError
from .journal_flags import All, AsJson, BatchNames, Wide, is_called, read_batches_and_engines, required
from .output import print_json, print_table, print_text, table_room
from .signals import run_until_interrupted
from .table_layout import Column
from .text_table import table_lines
from .upstream_flags import Upstream, UpstreamFlags, open_upstream

EXAMPLES = """
**Examples**

    # one batch, in a journal or not
    autobatcher cancel batch_abc123

    # all batches in a journal that may still be running
    autobatcher cancel --all --journal journal.sqlite3
"""

CANCEL_SECONDS = 60.0
"""Time limit for looking up and cancelling one batch, retryable errors included."""

CONCURRENT_CANCELS = 8

ANOTHER_ACCOUNTS = "left alone: created with another base URL or key"

UNKNOWN = "the upstream knows no batch of this id with this key"

COLUMNS = (Column("batch", cut="middle", least=13), Column("what happened", cut="wrap", least=24))
_STYLES = {"cancelled": "green", "not": "red", "left": "yellow"}


@dataclass(frozen=True)
class Target:
    """A batch to cancel: one in the journal, or an id that only the upstream may know.

    Attributes:
        engine: that lives and runs it; None if there is none, or only one can use the journal.
    """

    batch_id: str | None
    record: BatchRecord | None = None
    engine: Session | None = None


@dataclass(frozen=True)
class End:
    """What became of a target."""

    target: Target
    batch_id: str | None
    words: str
    is_failure: bool = False

    def fields(self) -> dict[str, Any]:
        """As JSON types."""
        idempotency_key = None if self.target.record is None else self.target.record.idempotency_key
        return {
            "batch_id": self.batch_id,
            "engine": None if self.target.engine is None else engine_fields(self.target.engine),
            "failed": self.is_failure,
            "stamp": idempotency_key,
            "what_happened": self.words,
        }


def cancel(
    *batches: BatchNames,
    every: All = False,
    journal: JournalPlace | None = None,
    as_json: AsJson = False,
    wide: Wide = False,
    flags: UpstreamFlags | None = None,
) -> int:
    """Cancel batches upstream.

    Requests that already ran are billed, and their answers can be read: by the engine that uses the journal, by a
    rerun of its program, or by `autobatcher reconcile`. An uncertain batch is looked up first. The journal is only
    read, so a running program may use it; its callers get an error. It sees that at its next poll. What an engine of a
    shared journal is about to create cannot be cancelled yet, and counts as a failure.

    Exit codes: 0, 1 if a batch could not be cancelled or is not known, or 2 if there is no such journal.

    Args:
        batches: Ids or idempotency keys of batches in the journal, or ids that only the upstream knows.
        every: Cancel all unfinished batches in the journal that belong to this base URL and key.
        journal: The journal: its file, or its URL.
        as_json: Print one JSON object per line.
        wide: Shorten nothing to the width of the terminal.
    """
    if every == bool(batches):
        raise UsageError("which batches? Give ids or idempotency keys, or --all for all in the --journal.")
    known = _in_journal(*read_batches_and_engines(required(journal))) if every or journal is not None else []
    named = [_called(name, known) for name in dict.fromkeys(batches)]
    targets = [target for target in known if may_run(target)] if every else named
    tell = partial(report, as_json=as_json, room=table_room(wide=wide))
    return run_until_interrupted(partial(_cancel_all, flags or UpstreamFlags(), targets, tell, wants_others=not every))


async def _cancel_all(
    flags: UpstreamFlags, targets: list[Target], tell: Callable[[list[End]], None], *, wants_others: bool
) -> int:
    async with open_upstream(flags) as upstream:
        with _logs_left_to_us():
            ends = await _cancel_concurrently(upstream, targets, wants_others=wants_others)
    tell(ends)
    return 1 if any(end.is_failure for end in ends) else 0


def _in_journal(records: list[BatchRecord], engines: Engines | None) -> list[Target]:
    return [Target(record.batch_id, record, _living_engine(record, engines)) for record in records]


def _living_engine(record: BatchRecord, engines: Engines | None) -> Session | None:
    engine = None if engines is None else engines.of(record.idempotency_key)
    return engine if engine is not None and engine.is_alive else None


def may_run(target: Target) -> bool:
    """Whether the batch may be running, according to the journal, or is about to."""
    assert target.record is not None
    match target.record.stage:
        case "intended":
            return target.engine is not None
        case "created":
            return target.record.status not in events.TERMINAL_STATUSES
        case stage:
            return stage == "creating"


def _called(name: str, known: list[Target]) -> Target:
    of_this_name = (target for target in known if target.record is not None and is_called(target.record, name))
    return next(of_this_name, Target(name))


async def _cancel_concurrently(upstream: Upstream, targets: list[Target], *, wants_others: bool) -> list[End]:
    """Cancel all targets. With `wants_others`, a batch of another account is a failure."""
    ends: dict[int, End] = {}
    limiter = trio.CapacityLimiter(CONCURRENT_CANCELS)

    async def one(number: int, target: Target) -> None:
        async with limiter:
            if target.record is not None and not upstream.is_payer_of(target.record):
                ends[number] = End(target, target.batch_id, ANOTHER_ACCOUNTS, is_failure=wants_others)
            else:
                ends[number] = await _Cancelling(upstream, target).run()

    async with trio.open_nursery() as nursery:
        for number, target in enumerate(targets):
            nursery.start_soon(one, number, target)
    return [ends[number] for number in sorted(ends)]


class _Cancelling:
    """One batch being cancelled."""

    def __init__(self, upstream: Upstream, target: Target) -> None:
        self._upstream = upstream
        self._target = target
        self._told: dict[type[events.BatchEvent], dict[str, Any]] = {}
        record = target.record
        endpoint, idempotency_key = ("", "") if record is None else (record.endpoint, record.idempotency_key)
        self._batch = UpstreamBatch(
            upstream.account, endpoint, idempotency_key, api=upstream.api, settings=Settings(), emit=self._take_event
        )

    def _take_event(self, kind: type[events.BatchEvent], /, **fields: Any) -> None:
        self._told[kind] = fields

    async def run(self) -> End:
        record = self._target.record
        if record is not None:
            if record.is_call:
                return self._end(f"is a call on the {record.lane} lane: nothing to cancel")
            if record.stage == "ended":
                return self._end("has ended before")
            if record.stage == "intended":
                return self._not_there("was not created yet: nothing to cancel")
        try:
            with trio.fail_after(CANCEL_SECONDS + self._least_wait()):
                return await self._cancel()
        except trio.TooSlowError:
            return self._end("not cancelled: the upstream could not be asked in time", is_failure=True)
        except UpstreamError as error:
            return self._end(f"not cancelled: {error.summary}", is_failure=True)

    def _least_wait(self) -> float:
        """A recent creation of unknown outcome is looked up until it would be visible."""
        record = self._target.record
        return sum(LOOKUP_DELAYS) if record is not None and record.batch_id is None else 0.0

    async def _cancel(self) -> End:
        record = self._target.record
        if record is None:
            assert self._target.batch_id is not None
            self._batch.adopt(BatchState(id=self._target.batch_id, status="unknown"))
        elif not await find_again(self._batch, record, time.time() - record.changed_at):
            return self._not_there("was never created: nothing to cancel")
        upstream = self._upstream
        await Cancellation(self._batch, upstream.account, upstream.api, patience=Patience(0.0, least=1)).run()
        if (failed := self._told.get(events.BatchCancelFailed)) is not None:
            reason = UNKNOWN if record is None and await self._is_unknown() else failed["error"]
            return self._end(f"not cancelled: {reason}", is_failure=True)
        if events.BatchCancelledUpstream not in self._told:
            return self._end("has ended before")
        engine = self._target.engine
        return self._end("cancelled" if engine is None else f"cancelled: engine {engine.number} reads what already ran")

    async def _is_unknown(self) -> bool:
        """Whether the upstream denies that there is a batch of this name."""
        assert self._target.batch_id is not None
        try:
            await self._upstream.api.retrieve(self._upstream.account, self._target.batch_id)
        except UpstreamError as error:
            return error.status_code in GONE
        return False

    def _not_there(self, words: str) -> End:
        """An engine that runs it may create it at any moment."""
        engine = self._target.engine
        if engine is None:
            return self._end(words)
        return self._end(f"not cancelled: engine {engine.number} may create it; try again", is_failure=True)

    def _end(self, words: str, *, is_failure: bool = False) -> End:
        return End(self._target, self._batch.batch_id or self._target.batch_id, words, is_failure)


def report(ends: list[End], *, as_json: bool, room: int | None = None) -> None:
    """Print what became of each."""
    if as_json:
        for end in ends:
            print_json(end.fields())
    elif ends:
        rows = [
            (name_of(end.batch_id, end.target.record.idempotency_key if end.target.record else None), end.words)
            for end in ends
        ]
        print_table(table_lines(COLUMNS, rows, _STYLES, room=room))
    else:
        print_text("Nothing to cancel.")


@contextmanager
def _logs_left_to_us() -> Iterator[None]:
    """Silence the engine's warnings: the report says the same."""
    logger = logging.getLogger("autobatcher")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled
