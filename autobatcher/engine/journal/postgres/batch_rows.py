"""The statements for batches, and the numbers that their lines have. Synchronous; for one thread."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ..failures import NotOurBatchError
from ..records import UNCERTAIN, BatchRecord
from ..row_checks import MAX_TEXT
from ..rows import COLUMNS as SQLITE_COLUMNS
from ..rows import as_many_as_fit, record_of
from .connection import IDLE_SECONDS
from .key_rows import KeyStore
from .schema import LINES_OF_A_BATCH

COLUMNS = ("idempotency_key", *SQLITE_COLUMNS[1:])
"""As in SQLite, but for the name of the first one."""

CALLS = "completion_window IN ('flex', 'realtime')"
"""Of a call on another lane, which has its lane there."""

_CHANGEABLE = frozenset({"stage", "file_id", "batch_id", "status", "completed", "failed", "completion_window"})

OF_THIS_BATCH = f"id BETWEEN b.number * {LINES_OF_A_BATCH} AND (b.number + 1) * {LINES_OF_A_BATCH} - 1"

_RECORDS = f"""SELECT {", ".join(f"b.{name}" for name in COLUMNS)}, c.* FROM batches b CROSS JOIN LATERAL (
    SELECT count(*), count(a.id), count(*) FILTER (WHERE a.id IS NOT NULL AND l.waiter IS NOT NULL),
        count(*) FILTER (WHERE a.status_code >= 400), coalesce(bool_or(l.body IS NULL), false)
    FROM lines l LEFT JOIN answers a ON a.id = l.id WHERE l.{OF_THIS_BATCH}) AS c"""

_DELETE_EMPTY = (
    f"DELETE FROM batches b WHERE stage = 'ended' AND NOT EXISTS (SELECT 1 FROM lines WHERE {OF_THIS_BATCH})"
)


class BatchStore(KeyStore):
    """The statements for batches. What another engine runs is left as it is."""

    def __init__(self, url: str, *, is_read_only: bool = False, idle_seconds: float | None = IDLE_SECONDS) -> None:
        self._numbers: dict[str, int] = {}  # of batches, by idempotency key; none is used twice
        super().__init__(url, is_read_only=is_read_only, idle_seconds=idle_seconds)

    def _on_rollback(self) -> None:
        self._numbers.clear()
        super()._on_rollback()

    def batches(self) -> list[BatchRecord]:
        """Return all batches, the oldest first."""
        return self._records("true ORDER BY b.number", ())

    def _records(self, condition: str, parameters: tuple[Any, ...]) -> list[BatchRecord]:
        return [record_of(row) for row in self._rows(f"{_RECORDS} WHERE {condition}", parameters)]

    def _insert_batch(self, record: BatchRecord) -> int:
        """Insert a batch that our engine runs. Returns its number."""
        values = {name: getattr(record, name) for name in COLUMNS}
        values |= {"models": json.dumps(as_many_as_fit(record.models)), "metadata": json.dumps(record.metadata)}
        marks = ", ".join("%s" for _ in COLUMNS)
        row = self._row(
            f"INSERT INTO batches (owner, {', '.join(COLUMNS)}) VALUES (%s, {marks}) RETURNING number",
            (self.session, *values.values()),
        )
        assert row is not None
        number: int = row[0]
        self._numbers[record.idempotency_key] = number
        return number

    def update(self, idempotency_key: str, *, now: float, **fields: Any) -> None:
        """Change fields of a batch; see `_CHANGEABLE`. Does nothing if another engine runs it, or it is gone.

        Raises:
            NotOurBatchError: in this case, if it is about to be created.
        """
        assert _CHANGEABLE.issuperset(fields)
        if any(isinstance(value, str) and len(value) > MAX_TEXT for value in fields.values()):
            raise OverflowError("a text of the upstream is too long for the journal")
        changes = "".join(f", {name} = %s" for name in fields)
        statement = f"UPDATE batches SET changed_at = %s{changes} WHERE idempotency_key = %s AND {_IS_OURS}"
        parameters = (now, *fields.values(), idempotency_key, self._owners())
        if fields.get("stage") != "creating":
            self._do(statement, parameters)
        elif self._row(f"{statement} RETURNING number", parameters) is None:
            raise NotOurBatchError(
                f"Another process has adopted the batch {idempotency_key}, because this one had lost the journal "
                f"{self._shown}. It was not created here."
            )

    def end(self, idempotency_key: str, *, now: float, keeps_unanswered: bool) -> None:
        """Mark a batch as ended, which nobody runs any more. Delete lines without an answer, unless
        `keeps_unanswered`."""
        self._release(idempotency_key)
        number = self._number_of_ours(idempotency_key)
        if number is None:
            return
        self._announce_awaited([number])
        if not keeps_unanswered:
            self._part_keys(*range_of(number))
            self._do(f"DELETE FROM lines WHERE id IN ({_UNANSWERED})", range_of(number))
        self._do("UPDATE batches SET stage = 'ended', owner = NULL, changed_at = %s WHERE number = %s", (now, number))
        self._do(f"{_DELETE_EMPTY} AND number = %s", (number,))
        self._numbers.pop(idempotency_key, None)  # a server creates batches for months

    def forget(self, idempotency_key: str) -> None:
        """Delete a batch with its lines and answers. What was billed stays."""
        self._release(idempotency_key)
        number = self._number_of_ours(idempotency_key)
        if number is not None:
            self._delete_batches([number])

    def _delete_batches(self, numbers: list[int]) -> None:
        """Delete batches that this transaction has locked."""
        if numbers:
            self._announce_awaited(numbers)
        for number in numbers:
            self._part_keys(*range_of(number))
            self._do("DELETE FROM answers WHERE id BETWEEN %s AND %s", range_of(number))
            self._do(f"DELETE FROM lines WHERE id IN ({_ALL})", range_of(number))
        for (key,) in self._rows("DELETE FROM batches WHERE number = ANY(%s) RETURNING idempotency_key", (numbers,)):
            self._release(key)
            self._do("DELETE FROM failures WHERE idempotency_key = %s", (key,))
            self._numbers.pop(key, None)

    def booked_call(self, idempotency_key: str, *, now: float) -> None:
        """What a call may have cost was added."""
        self.update(idempotency_key, now=now, status=UNCERTAIN)
        self._release(idempotency_key)

    def _delete_empty_batches(self, keys: list[str] | None = None) -> None:
        """Delete batches that have ended, and of which nothing is left: these, or all."""
        if keys is None:
            self._do(_DELETE_EMPTY)
        else:
            self._do(f"{_DELETE_EMPTY} AND idempotency_key = ANY(%s)", (keys,))

    def _announce_awaited(self, numbers: list[int]) -> None:
        """Tell other sessions of batches for whose lines they wait."""
        self._do(
            "SELECT pg_notify(%s, b.idempotency_key) FROM batches b WHERE number = ANY(%s) AND EXISTS (SELECT 1 "
            f"FROM lines WHERE {OF_THIS_BATCH} AND waiter IS NOT NULL AND waiter <> %s)",
            (self._channel, numbers, self.session or 0),
        )

    def _lock_batches(self, numbers: Iterable[int]) -> None:
        """Let nobody else write answers of these batches, or delete any, before this transaction ends.

        Else an answer could be stored, and booked, that was stored, booked and deleted a moment before.
        """
        self._do("SELECT 1 FROM batches WHERE number = ANY(%s) ORDER BY number FOR UPDATE", (sorted(set(numbers)),))

    # ---- numbers ----

    def _number_of_ours(self, idempotency_key: str) -> int | None:
        """The number of a batch that our engine runs, which cannot be adopted in this transaction. None for others."""
        row = self._row(
            f"SELECT number FROM batches WHERE idempotency_key = %s AND {_IS_OURS} FOR UPDATE",
            (idempotency_key, self._owners()),
        )
        return None if row is None else row[0]

    def _number_of(self, idempotency_key: str) -> int | None:
        return self._numbers_of([idempotency_key]).get(idempotency_key)

    def _numbers_of(self, keys: Iterable[str]) -> dict[str, int]:
        """The numbers of batches. Those that are not in the journal are left out."""
        wanted = set(keys)
        unknown = [key for key in wanted if key not in self._numbers]
        if unknown:
            self._numbers |= self._rows(
                "SELECT idempotency_key, number FROM batches WHERE idempotency_key = ANY(%s::text[])", (unknown,)
            )
        return {key: self._numbers[key] for key in wanted if key in self._numbers}

    def _ids_of(self, lines: Iterable[tuple[str, int]]) -> list[int | None]:
        """The ids of lines, by idempotency key and number. None for those whose batch is not in the journal."""
        places = list(lines)
        numbers = self._numbers_of(key for key, _ in places)
        return [numbers[key] * LINES_OF_A_BATCH + number if key in numbers else None for key, number in places]

    def _known_ids_of(self, lines: Iterable[tuple[str, int]]) -> list[int]:
        return sorted(id_ for id_ in self._ids_of(lines) if id_ is not None)


def range_of(number: int) -> tuple[int, int]:
    """The first and the last id that a batch's lines may have."""
    return number * LINES_OF_A_BATCH, (number + 1) * LINES_OF_A_BATCH - 1


_IS_OURS = "coalesce(owner, 0) = ANY(%s::int[])"

_ALL = "SELECT id FROM lines WHERE id BETWEEN %s AND %s ORDER BY digest, id FOR UPDATE"
"""In the order in which `claim` locks lines, so that neither waits for the other for ever."""

_UNANSWERED = (
    "SELECT id FROM lines l WHERE id BETWEEN %s AND %s AND NOT EXISTS (SELECT 1 FROM answers a WHERE a.id = l.id) "
    "ORDER BY digest, id FOR UPDATE"
)
