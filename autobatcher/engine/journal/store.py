"""All SQL of the journal. Synchronous; for one thread."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

from . import charges
from .charges import NewCharge
from .identity import digest_of
from .records import UNCERTAIN, BatchRecord, Contents, StoredAnswer, UnclaimedLine, lane_in
from .response_rows import ResponseStore
from .row_checks import MAX_TEXT, STATUS_CODES
from .rows import COLUMNS, Line, NewAnswer, Result, as_many_as_fit, record_of, unclaimed_of
from .schema import LINES_OF_A_BATCH
from .sweep import ANSWERS_AT_ONCE, DELETE_EMPTY, OF_A_BATCH, OF_THIS_BATCH, Sweep

logger: logging.Logger = logging.getLogger("autobatcher")

UNFINISHED_SECONDS = 31 * 86_400.0
"""How long a batch that was not completely read is kept, whatever the retention: it may have cost money, and providers
keep results for thirty days."""


class UnknownBatchError(LookupError):
    """The journal has no batch with that idempotency key: it was never written, or is forgotten."""


BAD_VALUES = (
    *(OverflowError, UnicodeEncodeError, UnknownBatchError),
    *(sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError),
)
"""Raised for a value that SQLite cannot hold, or whose batch is unknown. The file itself is fine then."""

_NO_ANSWER = 504
"""The status of a call that was cut off."""

_INSERT_ANSWER = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)"


class Store(ResponseStore):
    """The journal's statements, in terms of batches, lines and answers."""

    def __init__(self, path: Path, *, is_read_only: bool = False) -> None:
        self._numbers: dict[str, int] = {}  # of batches, by idempotency key
        super().__init__(path, is_read_only=is_read_only)
        self._sweep = Sweep(self._db)

    def _on_rollback(self) -> None:
        self._numbers.clear()  # SQLite will reuse numbers from the rolled back transaction
        self._sweep.restart()

    # ---- batches ----

    def intend(
        self,
        record: BatchRecord,
        lines: Iterable[Line],
        *,
        is_hash_only: bool,
        budget: str = "",
        reserved: Decimal | None = None,
    ) -> None:
        """Insert a batch that is about to be uploaded, its lines, and what it may cost under a budget."""
        values = {name: getattr(record, name) for name in COLUMNS if name != "stamp"}
        values |= {
            "stamp": record.idempotency_key,
            "models": json.dumps(as_many_as_fit(record.models)),
            "metadata": json.dumps(record.metadata),
        }
        marks = ", ".join(f":{name}" for name in COLUMNS)
        cursor = self._db.execute(f"INSERT INTO batches ({', '.join(COLUMNS)}) VALUES ({marks})", values)
        assert cursor.lastrowid is not None
        self._numbers[record.idempotency_key] = cursor.lastrowid
        first = cursor.lastrowid * LINES_OF_A_BATCH
        rows = (
            (first + number, digest_of(endpoint, body, record.account), endpoint, None if is_hash_only else body)
            for number, endpoint, body in lines
        )
        self._db.executemany("INSERT INTO lines VALUES (?, ?, ?, ?)", rows)
        if reserved or budget:
            charges.reserve(self._db, record.idempotency_key, budget=budget, amount=reserved or Decimal(0))

    def update(self, idempotency_key: str, *, now: float, **fields: Any) -> None:
        """Change fields of a batch; see `_CHANGEABLE`."""
        assert _CHANGEABLE.issuperset(fields)
        if any(isinstance(value, str) and len(value) > MAX_TEXT for value in fields.values()):
            raise OverflowError("a text of the upstream is too long for the journal")
        changes = "".join(f", {name} = :{name}" for name in fields)
        self._db.execute(
            f"UPDATE batches SET changed_at = :now{changes} WHERE stamp = :stamp",
            {"now": now, "stamp": idempotency_key, **fields},
        )

    def end(self, idempotency_key: str, *, now: float, keeps_unanswered: bool) -> None:
        """Mark a batch as ended. Delete lines without an answer, unless `keeps_unanswered`."""
        charges.release(self._db, idempotency_key)
        if not self._has_batch(idempotency_key):
            return
        if not keeps_unanswered:
            unanswered = f"{OF_A_BATCH} AND NOT EXISTS (SELECT 1 FROM answers WHERE answers.id = lines.id)"
            self._db.execute(f"DELETE FROM lines WHERE {unanswered}", self._lines_of(idempotency_key))
        self.update(idempotency_key, now=now, stage="ended")
        self._db.execute(f"{DELETE_EMPTY} AND stamp = ?", (idempotency_key,))
        self._numbers.pop(idempotency_key, None)  # a server creates batches for months

    def forget(self, idempotency_key: str) -> None:
        """Delete a batch with its lines and answers. What was billed stays."""
        charges.release(self._db, idempotency_key)
        if not self._has_batch(idempotency_key):
            return
        lines = self._lines_of(idempotency_key)
        self._db.execute(f"DELETE FROM lines WHERE {OF_A_BATCH}", lines)
        self._db.execute(f"DELETE FROM answers WHERE {OF_A_BATCH}", lines)
        self._db.execute("DELETE FROM batches WHERE stamp = ?", (idempotency_key,))
        self._numbers.pop(idempotency_key, None)

    # ---- lines ----

    def answer(
        self, answers: Iterable[NewAnswer], new_charges: Iterable[NewCharge] = (), *, budget: str = "", now: float
    ) -> None:
        """Insert answers, and what was billed. An answer that cannot be stored is logged and left out."""
        charges.add_charges(self._db, new_charges, budget=budget, now=now)
        fresh = list(answers)
        try:
            self._db.executemany(_INSERT_ANSWER, (self._answer_row(answer, now) for answer in fresh))
        except BAD_VALUES:
            for answer in fresh:
                self._store_if_possible(answer, now)

    def _store_if_possible(self, answer: NewAnswer, now: float) -> None:
        try:
            self._db.execute(_INSERT_ANSWER, self._answer_row(answer, now))
        except BAD_VALUES as error:
            line = f"{answer[0]}-{answer[1]}"
            logger.error("autobatcher: the journal cannot hold the answer to %s (%s)", line, type(error).__name__)

    def _answer_row(self, answer: NewAnswer, now: float) -> tuple[Any, ...]:
        idempotency_key, number, status_code, body, request_id, is_taken = answer
        session = self._session if is_taken else None
        if status_code not in STATUS_CODES:
            raise OverflowError("no status code of HTTP")
        request_id = None if request_id is None else request_id[:MAX_TEXT]
        return self._id_of(idempotency_key, number), status_code, request_id, now, session, body

    def drop(self, idempotency_key: str, number: int) -> None:
        """Delete a line."""
        if not self._has_batch(idempotency_key):
            return
        self._db.execute("DELETE FROM lines WHERE id = ?", (self._id_of(idempotency_key, number),))

    def mark_taken(self, idempotency_key: str, number: int) -> None:
        """Mark a stored answer as delivered by this session."""
        self._db.execute(
            "UPDATE answers SET taken_by = ? WHERE id = ?", (self._session, self._id_of(idempotency_key, number))
        )

    def give_back(self, idempotency_key: str, number: int) -> None:
        """Mark a stored answer as not delivered."""
        self._db.execute("UPDATE answers SET taken_by = NULL WHERE id = ?", (self._id_of(idempotency_key, number),))

    def delivered(self, idempotency_key: str, numbers: Iterable[int]) -> None:
        """Delete lines with their answers; also the batch, if it has ended and nothing is left of it."""
        if self._has_batch(idempotency_key):
            ids = [(self._id_of(idempotency_key, number),) for number in numbers]
            self._db.executemany("DELETE FROM lines WHERE id = ?", ids)
            self._db.executemany("DELETE FROM answers WHERE id = ?", ids)
            self._db.execute(f"{DELETE_EMPTY} AND stamp = ?", (idempotency_key,))
            self._numbers.pop(idempotency_key, None)

    def answers(self, lines: Iterable[tuple[str, int]]) -> list[StoredAnswer | None]:
        """Return the stored answers of lines (idempotency key and number); None for each missing one."""
        return [self._answer_of(idempotency_key, number) for idempotency_key, number in lines]

    def _answer_of(self, idempotency_key: str, number: int) -> StoredAnswer | None:
        if not self._has_batch(idempotency_key):
            return None
        row = self._db.execute(
            "SELECT b.batch_id, a.status_code, a.body, a.request_id, b.completion_window FROM answers a "
            "JOIN batches b ON b.stamp = ? WHERE a.id = ? AND a.body IS NOT NULL",
            (idempotency_key, self._id_of(idempotency_key, number)),
        ).fetchone()
        if row is None:
            return None
        batch_id, status_code, body, request_id, window = row
        return StoredAnswer(idempotency_key, number, batch_id or "", status_code, body, request_id, lane_in(window))

    def told_uncertain(self, idempotency_key: str, *, now: float) -> None:
        """A caller is told that a call on another lane may have been billed: that counts as its answer, without a
        body."""
        if self._has_batch(idempotency_key):
            row = (self._id_of(idempotency_key, 0), _NO_ANSWER, None, now, self._session, None)
            self._db.execute(_INSERT_ANSWER, row)
            self.update(idempotency_key, now=now, stage="ended")
            self.booked_call(idempotency_key, now=now)

    def booked_call(self, idempotency_key: str, *, now: float) -> None:
        """What a call may have cost was added."""
        self.update(idempotency_key, now=now, status=UNCERTAIN)
        charges.release(self._db, idempotency_key)

    # ---- queries ----

    def batches(self) -> list[BatchRecord]:
        """Return all batches, the oldest first."""
        rows = self._db.execute(
            f"SELECT {', '.join(COLUMNS)}, "
            f"(SELECT count(*) FROM lines WHERE {OF_THIS_BATCH}), "
            f"(SELECT count(*) FROM answers WHERE {OF_THIS_BATCH}), "
            f"(SELECT count(taken_by) FROM answers WHERE {OF_THIS_BATCH}), "
            f"(SELECT count(*) FROM answers WHERE {OF_THIS_BATCH} AND status_code >= 400), "
            f"EXISTS (SELECT 1 FROM lines WHERE {OF_THIS_BATCH} AND body IS NULL) FROM batches ORDER BY number"
        )
        return [record_of(row) for row in rows]

    def contents(
        self, process: str, *, now: float, answered_since: float = 0.0, changed_since: float = 0.0
    ) -> Contents:
        """Return what may be delivered to callers of this process, undelivered answers first.

        Leaves out lines that were never sent, answers that an earlier client of this process took without failing, and
        what `forget_old` deletes.

        Args:
            answered_since, changed_since: older answers, and batches without a change since then, are left out.
        """
        rows = self._db.execute(
            "SELECT CASE WHEN a.id IS NULL THEN 1 WHEN a.taken_by IS NULL THEN 0 ELSE 2 END, l.digest, "
            "b.stamp, l.id, coalesce(a.answered_at, ?), a.body IS NOT NULL, b.completion_window, "
            f"a.id IS NOT NULL OR b.status = '{UNCERTAIN}' "
            f"FROM lines l JOIN batches b ON b.number = l.id / {LINES_OF_A_BATCH} LEFT JOIN answers a ON a.id = l.id "
            "LEFT JOIN sessions s ON s.number = a.taken_by WHERE b.stage <> 'intended' AND b.changed_at >= ? "
            "AND NOT coalesce(a.answered_at < ? OR s.ending = 'exited' OR s.process = ? AND s.ending <> 'failed', 0) "
            "ORDER BY l.id",
            (now, changed_since, answered_since, process),
        )
        lines: tuple[list[tuple[bytes, UnclaimedLine]], ...] = ([], [], [])  # by rank: a sort would take longer
        for rank, digest, *line in rows:
            lines[rank].append((digest, unclaimed_of(*line)))
        batches = [batch for batch in self.batches() if batch.changed_at >= changed_since]
        return Contents(batches, [*chain(*lines)], self.kept("durations"), self.kept("calibration"))

    def results(self, idempotency_key: str) -> Iterator[Result]:
        """Yield each line of a batch in the order of its input file. None of one that is gone by now."""
        if not self._has_batch(idempotency_key):
            return
        rows = self._db.execute(
            "SELECT l.id, l.endpoint, l.body, a.status_code, a.body, a.request_id, a.taken_by FROM lines l "
            f"LEFT JOIN answers a ON a.id = l.id WHERE {OF_A_BATCH.replace('id', 'l.id')} ORDER BY l.id",
            self._lines_of(idempotency_key),
        )
        for line_id, endpoint, body, status_code, answer, request_id, taken_by in rows:
            number = line_id % LINES_OF_A_BATCH
            yield Result(idempotency_key, number, endpoint, body, status_code, answer, request_id, taken_by is not None)

    # ---- after the delivery ----

    def forget_all_taken(self) -> int:
        """Delete every delivered answer, and return how many there were."""
        self._db.execute("DELETE FROM lines WHERE id IN (SELECT id FROM answers WHERE taken_by IS NOT NULL)")
        forgotten = self._db.execute("DELETE FROM answers WHERE taken_by IS NOT NULL").rowcount
        self._delete_empty_batches()
        return forgotten

    def compact(self) -> None:
        """Shrink the file, and erase deleted content. Not inside a transaction."""
        self._db.execute("VACUUM")
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def forget_old(self, *, now: float, retention_seconds: float) -> bool:
        """Delete some of what is not needed: answers whose takers have exited, answers older than the retention, and
        batches that cannot get more of them.

        Returns:
            Whether there may be more to delete, in another transaction.
        """
        until, unchanged_since = now - retention_seconds, now - max(retention_seconds, UNFINISHED_SECONDS)
        if self._sweep.step(until=until) or self._forget_some_unchanged(unchanged_since):
            return True
        self._db.execute(
            "DELETE FROM sessions WHERE opened_at < ? AND number <> ? "
            "AND number NOT IN (SELECT taken_by FROM answers WHERE taken_by IS NOT NULL)",
            (until, self._session or 0),
        )
        self.forget_responses(until=until, open_until=unchanged_since)
        charges.forget_old_charges(self._db, now=now)
        return False

    def _forget_some_unchanged(self, since: float) -> bool:
        """Forget batches that have not changed since then; False if there are none."""
        rows = self._db.execute(
            "SELECT stamp, request_count FROM batches WHERE changed_at < ? LIMIT ?", (since, ANSWERS_AT_ONCE)
        ).fetchall()
        left = ANSWERS_AT_ONCE
        for idempotency_key, lines in rows:
            self.forget(idempotency_key)
            left -= lines
            if left <= 0:
                break
        return bool(rows)

    def _delete_empty_batches(self) -> None:
        self._db.execute(DELETE_EMPTY)

    def _lines_of(self, idempotency_key: str) -> tuple[int, int]:
        """The range of ids of a batch's lines, for `OF_A_BATCH`."""
        first = self._number_of(idempotency_key) * LINES_OF_A_BATCH
        return first, first + LINES_OF_A_BATCH - 1

    def _id_of(self, idempotency_key: str, number: int) -> int:
        return self._number_of(idempotency_key) * LINES_OF_A_BATCH + number

    def _has_batch(self, idempotency_key: str) -> bool:
        """Whether the batch is in the journal."""
        try:
            self._number_of(idempotency_key)
        except UnknownBatchError:
            return False
        return True

    def _number_of(self, idempotency_key: str) -> int:
        if idempotency_key not in self._numbers:
            row = self._db.execute("SELECT number FROM batches WHERE stamp = ?", (idempotency_key,)).fetchone()
            if row is None:
                raise UnknownBatchError(idempotency_key)
            self._numbers[idempotency_key] = row[0]
        return self._numbers[idempotency_key]


_CHANGEABLE = frozenset({"stage", "file_id", "batch_id", "status", "completed", "failed", "completion_window"})
