"""Batches as the journal and the upstream know them: a `Row` for each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import trio

from ..engine.journal import BatchRecord
from ..engine.journal.file import Session
from ..engine.journal.records import UNCERTAIN
from ..events import TERMINAL_STATUSES
from ..upstream.batch_state import BatchState
from ..upstream.failures import GONE, UpstreamError
from ..upstream.http import PATIENCE_SECONDS
from ..upstream.lookup import IDEMPOTENCY_METADATA_KEY
from .engines import Engines, engine_fields
from .upstream_flags import Upstream, host_of

CONCURRENT_POLLS = 8

_NO_LIST = frozenset({404, 405, 501})
"""Responses of servers that cannot list batches."""

_STAGES = {"intended": "uploading", "creating": "uncertain"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One batch.

    Attributes:
        record: from the journal; None if it is not in the journal.
        state: from the upstream; None if the upstream was not asked or does not know the batch.
        host: of the upstream.
        is_ours: whether it belongs to the given account; None if no account was given.
        trouble: why there is no state although the upstream was asked.
        is_gone: whether the upstream does not know the batch.
        engine: that runs the batch, or is gone and ran it last; None if there is none, or only one can use the journal.
    """

    record: BatchRecord | None = None
    state: BatchState | None = None
    host: str
    is_ours: bool | None = None
    trouble: str = ""
    is_gone: bool = False
    engine: Session | None = None

    @property
    def batch_id(self) -> str | None:
        """The upstream's id."""
        known = None if self.record is None else self.record.batch_id
        return known or (None if self.state is None else self.state.id)

    @property
    def idempotency_key(self) -> str | None:
        """The idempotency key in its metadata; None if autobatcher did not make the batch."""
        if self.record is not None:
            return self.record.idempotency_key
        idempotency_key = None if self.state is None else self.state.metadata.get(IDEMPOTENCY_METADATA_KEY)
        return None if idempotency_key is None else str(idempotency_key)

    @property
    def is_run(self) -> bool:
        """Whether an engine of a shared journal runs it."""
        return self.engine is not None and self.engine.is_alive

    @property
    def words(self) -> str:
        """The status in the journal."""
        if self.record is None:
            return "not in the journal"
        if self.record.is_call:
            is_answered = self.record.answered and self.record.status != UNCERTAIN
            return f"{self.record.lane} call: {'answered' if is_answered else 'may have been billed'}"
        status = self.record.status.replace("_", " ")
        if self.record.stage == "ended":
            return "read" if status in ("", "completed") else f"read ({status})"
        return _STAGES.get(self.record.stage) or status or "created"

    @property
    def upstream_words(self) -> str:
        """The status upstream; "" if the upstream was not asked."""
        return self.trouble if self.state is None else self.state.status.replace("_", " ")

    def may_run(self, now: float) -> bool:
        """Whether it may still be running, or, for a limited time, be in submission."""
        if self.state is not None:
            return not self.state.is_terminal
        if self.record is None or self.record.stage == "ended" or self.is_gone or self.is_ours is False:
            return False
        if self.record.stage == "created":
            return self.record.status not in TERMINAL_STATUSES
        return now - self.record.changed_at < PATIENCE_SECONDS

    def fields(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            **(_of_record(self.record) if self.record is not None else dict.fromkeys(_RECORD_FIELDS)),
            "batch_id": self.batch_id,
            "engine": None if self.engine is None else engine_fields(self.engine),
            "host": self.host,
            "kind": "batch",
            "in_journal": self.record is not None,
            "of_this_account": self.is_ours,
            "stamp": self.idempotency_key,
            "trouble": self.trouble or None,
            "upstream": None if self.state is None else _of_state(self.state),
        }


_RECORD_FIELDS = (
    *("answered", "failed", "completion_window", "created_at", "changed_at", "endpoint", "metadata", "models"),
    *("provider", "request_count", "stage", "status", "taken", "lane"),
)


def good(record: BatchRecord) -> int:
    """How many of its lines have an answer that is no error."""
    return record.answered - record.refused


def _of_record(record: BatchRecord) -> dict[str, Any]:
    counts = {"answered": good(record), "failed": record.refused}
    return {name: getattr(record, name) for name in _RECORD_FIELDS if name not in counts} | counts


def _of_state(state: BatchState) -> dict[str, Any]:
    counts = state.counts
    numbers = {name: None if counts is None else getattr(counts, name) for name in ("completed", "failed", "total")}
    return {"status": state.status, **numbers}


@dataclass
class Seen:
    """All batches at one moment.

    Attributes:
        failure: why the upstream could not be asked; None if it was.
        engines: that share the journal; None if only one can use it.
        foreign: how many batches of the account are left out, since other programs made them.
    """

    rows: list[Row] = field(default_factory=list)
    foreign: int = 0
    failure: UpstreamError | None = None
    engines: Engines | None = None

    def with_engines(self, engines: Engines | None) -> Seen:
        """The same, with the engine of each batch."""
        if engines is None:
            return self
        rows = [
            row if row.record is None else replace(row, engine=engines.of(row.idempotency_key)) for row in self.rows
        ]
        return replace(self, rows=rows, engines=engines)


def rows_of(records: Iterable[BatchRecord]) -> list[Row]:
    """Rows from the journal alone."""
    return [Row(record=record, host=host_of(record.base_url)) for record in records]


async def ask(upstream: Upstream, records: list[BatchRecord] | None, *, shows_foreign: bool = False) -> Seen:
    """Rows from the journal and the upstream; without a journal (None) from the upstream's list alone.

    Args:
        shows_foreign: also show batches of the account that autobatcher did not make.
    """
    seen = Seen()
    try:
        listed = await upstream.api.list_batches(upstream.account)
    except UpstreamError as error:
        listed = []
        if records is None or error.status_code not in _NO_LIST:
            seen.failure = error
    index = _index(listed)
    known = records or []
    rows: list[Row] = [_row(record, index, upstream, seen.failure) for record in known]
    if seen.failure is None:
        rows = await _polled(rows, upstream)
    found = {row.batch_id for row in rows}
    others = [state for state in reversed(listed) if state.id not in found]
    shown = [state for state in others if shows_foreign or IDEMPOTENCY_METADATA_KEY in state.metadata]
    seen.rows = rows + [Row(state=state, host=upstream.host, is_ours=True) for state in shown]
    seen.foreign = len(others) - len(shown)
    return seen


def _index(listed: list[BatchState]) -> dict[object, BatchState]:
    """The upstream's batches by id, idempotency key and input file."""
    index: dict[object, BatchState] = {}
    for state in listed:
        for key in (state.input_file_id, state.metadata.get(IDEMPOTENCY_METADATA_KEY), state.id):
            if isinstance(key, str):
                index[key] = state
    return index


def _row(
    record: BatchRecord, index: dict[object, BatchState], upstream: Upstream, failure: UpstreamError | None
) -> Row:
    is_ours = upstream.is_payer_of(record)
    make = partial(Row, record=record, host=host_of(record.base_url), is_ours=is_ours)
    if not is_ours:
        return make(trouble="" if record.stage == "ended" else "another account's")
    if record.is_call:
        return make()
    state = index.get(record.batch_id) or index.get(record.idempotency_key) or index.get(record.file_id)
    if record.stage == "ended" or state is not None:
        return make(state=state)
    return make(trouble="not known" if failure is None else "not asked")


async def _polled(rows: list[Row], upstream: Upstream) -> list[Row]:
    """The same rows; batches missing from the list are retrieved by id."""
    found = list(rows)
    limiter = trio.CapacityLimiter(CONCURRENT_POLLS)

    async def poll(number: int, row: Row, batch_id: str) -> None:
        async with limiter:
            found[number] = await _poll(row, batch_id, upstream)

    async with trio.open_nursery() as nursery:
        for number, row in enumerate(rows):
            batch_id = row.batch_id
            if row.is_ours and row.trouble and batch_id is not None:
                nursery.start_soon(poll, number, row, batch_id)
    return found


async def _poll(row: Row, batch_id: str, upstream: Upstream) -> Row:
    make = partial(Row, record=row.record, host=row.host, is_ours=row.is_ours)
    try:
        return make(state=await upstream.api.retrieve(upstream.account, batch_id))
    except UpstreamError as error:
        if error.status_code in GONE:
            return make(trouble="not known", is_gone=True)
        return make(trouble=error.summary)
