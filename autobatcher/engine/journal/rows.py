"""Rows of the journal, as the engine and the commands know them."""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any, NamedTuple

from .records import BatchRecord, UnclaimedLine, lane_in
from .row_checks import MAX_TEXT, decoded_metadata, decoded_models
from .schema import LINES_OF_A_BATCH

Line = tuple[int, str, bytes]
"""Number, endpoint and body."""


NewAnswer = tuple[str, int, int, bytes | None, str | None, bool]
"""Idempotency key, number, status code, body (None if it is not stored), request id, and whether a caller gets it."""


class Result(NamedTuple):
    """A line and its answer. Bodies are None if the journal does not store them."""

    idempotency_key: str
    number: int
    endpoint: str
    body: bytes | None
    status_code: int | None
    answer: bytes | None
    request_id: str | None
    is_taken: bool

    def __repr__(self) -> str:
        """Without prompt and answer."""
        return f"Result({self.idempotency_key!r}, {self.number}, {self.endpoint!r}, {self.status_code})"


COLUMNS = (
    *("stamp", "account", "base_url", "provider", "endpoint", "completion_window", "models", "metadata"),
    *("request_count", "stage", "file_id", "batch_id", "status", "completed", "failed", "created_at", "changed_at"),
)


def record_of(row: tuple[Any, ...]) -> BatchRecord:
    """Make a record of `COLUMNS`, the counts of its lines, answers, deliveries and errors, and `is_hash_only`."""
    values = dict(zip((*COLUMNS, "lines", "answered", "taken", "refused", "is_hash_only"), row, strict=True))
    values |= {"models": decoded_models(values["models"]), "metadata": decoded_metadata(values["metadata"])}
    values["is_hash_only"] = bool(values["is_hash_only"])
    values["idempotency_key"] = values.pop("stamp")  # the column's name in all schema versions
    return BatchRecord(**values)


def unclaimed_of(stamp: str, line_id: int, since: float, is_stored: int, window: str, is_paid: int) -> UnclaimedLine:
    """Make an unclaimed line. A million of them share the names of their batches."""
    return UnclaimedLine(
        *(sys.intern(stamp), line_id % LINES_OF_A_BATCH, since, bool(is_stored)),
        lane=lane_in(window),
        is_paid=bool(is_paid),
    )


def as_many_as_fit(names: list[str]) -> list[str]:
    """The first of the names that callers chose, as far as a row has room for them."""
    lengths = itertools.accumulate(len(json.dumps(name)) + len(", ") for name in names)
    return [name for name, length in zip(names, lengths, strict=True) if length < MAX_TEXT]
