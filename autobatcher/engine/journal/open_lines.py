"""Lines of batches and calls that are not over: they may be billed, and nothing is booked yet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol

from ...money.calibration import Calibration
from ...money.ledger import OTHER_MODELS, Entry, Fate, Sort, bracket_of
from ...money.service_tiers import billed_lane
from ...money.usage import Usage, name_in
from .charges import HOUR, KeptCharge
from .records import UNCERTAIN, BatchRecord

_MAY_RUN = ("calling", "creating", "created")

_CUT_OFF = ("cancelling", "cancelled")
"""Statuses of batches whose lines may have been sent again, to be paid twice if need be."""


class LineStore(Protocol):
    """What a store says of the lines of a batch."""

    def unanswered(self, record: BatchRecord) -> Iterator[tuple[str, bytes | None]]:
        """Endpoint and body of each line without an answer. A journal of hashes has no bodies."""

    def booked(self, record: BatchRecord) -> tuple[int, int]:
        """How many lines were booked, and how many of them as perhaps executed."""


def open_charges(
    store: LineStore, records: Iterable[BatchRecord], calibration: Calibration, *, since: float
) -> Iterator[KeptCharge]:
    """Yield the most that lines without an answer may be billed, for each batch or call that is not over.

    Args:
        records: of the batches and calls in the journal.
        calibration: how long answers may be.
        since: in Unix seconds; batches that changed in its hour or later count.
    """
    for record in records:
        is_open = record.stage in _MAY_RUN and record.status != UNCERTAIN
        if is_open and record.changed_at // HOUR >= since // HOUR:
            yield from _charges_of(store, record, calibration)


def _charges_of(store: LineStore, record: BatchRecord, calibration: Calibration) -> Iterator[KeptCharge]:
    found: dict[Sort, Entry] = {}
    told, told_unknown = store.booked(record)
    for endpoint, body in islice(store.unanswered(record), told_unknown, None):
        model = _only(record.models) or (name_in(body).model if body is not None else OTHER_MODELS)
        most = None if body is None else calibration.most(model, endpoint, body)
        lane = billed_lane(record.lane, body or b"")
        _entry(found, record, endpoint, model, lane, most).add(most, record.batch_id or "")
    if sent_elsewhere := _dropped(record, told):
        model = _only(record.models) or OTHER_MODELS
        _entry(found, record, record.endpoint, model, record.lane, None).add(
            None, record.batch_id or "", sent_elsewhere
        )
    hour, metadata = int(record.changed_at // HOUR), json.dumps(record.metadata)
    for sort, entry in found.items():
        yield KeptCharge(hour, "", metadata, record.account, sort, entry)


def _dropped(record: BatchRecord, told: int) -> int:
    """How many lines of a batch that was cut off are gone from the journal, and not booked."""
    gone_and_booked = max(0, told - record.answered)
    return max(0, record.request_count - record.lines - gone_and_booked) if record.status in _CUT_OFF else 0


def _entry(
    found: dict[Sort, Entry], record: BatchRecord, endpoint: str, model: str, lane: str, most: Usage | None
) -> Entry:
    window = "" if record.is_call else record.completion_window
    where = (record.provider, record.base_url, model, endpoint, lane, window)
    return found.setdefault(Sort(*where, Fate.UNKNOWN, bracket_of(most)), Entry())


def _only(models: list[str]) -> str | None:
    return models[0] if len(models) == 1 else None
