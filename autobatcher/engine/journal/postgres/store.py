"""The journal on PostgreSQL. Synchronous; for one thread."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from ...digest import digest_of
from ..charges import NewCharge
from ..records import BatchRecord, Contents, StoredAnswer, lane_in
from ..row_checks import MAX_TEXT, STATUS_CODES
from ..rows import Line, NewAnswer, Result
from .batch_rows import range_of
from .response_rows import ResponseStore
from .schema import LINES_OF_A_BATCH, TABLES

logger: logging.Logger = logging.getLogger("autobatcher")

UNFINISHED_SECONDS = 31 * 86_400.0
"""As in SQLite: how long a batch that was not completely read is kept, whatever the retention."""

SENT_AT_ONCE = 4_000_000
"""How many bytes of prompts or answers go into one statement. While it arrives, its connection seems to be idle."""

READ_AT_ONCE = 100
"""How many lines with their answers are in memory."""

FORGOTTEN_AT_ONCE, BATCHES_FORGOTTEN_AT_ONCE = 20_000, 100
"""How many old answers, and batches, one transaction deletes."""

_NO_ANSWER = 504
"""The status of a call that was cut off."""


class PostgresStore(ResponseStore):
    """The journal's statements, in terms of batches, lines and answers: those of `Store`, for several engines."""

    # ---- batches ----

    def intend(
        self,
        record: BatchRecord,
        lines: Iterable[Line],
        *,
        is_hash_only: bool,
        budget: str = "",
        reserved: Decimal | None = None,
        keys: Mapping[int, bytes] | None = None,
    ) -> None:
        """Insert a batch that is about to be uploaded by our engine, its lines, for which it waits, and what it may
        cost under a budget. `keys` are those of callers, by the numbers of lines."""
        first = self._insert_batch(record) * LINES_OF_A_BATCH
        rows = (
            (first + number, digest_of(endpoint, body, record.account), endpoint, None if is_hash_only else body)
            for number, endpoint, body in lines
        )
        for some in _parts(rows):
            ids, digests, endpoints, bodies = map(list, zip(*some, strict=True))
            self._do(_INSERT_LINES, (self.session, ids, digests, endpoints, bodies))
        self._bind_keys({key: first + number for number, key in (keys or {}).items()})
        if reserved or budget:
            self._reserve(record.idempotency_key, budget=budget, amount=reserved or Decimal(0))

    # ---- lines ----

    def answer(
        self, answers: Iterable[NewAnswer], new_charges: Iterable[NewCharge] = (), *, budget: str = "", now: float
    ) -> None:
        """Insert answers, and what was billed. An answer that cannot be stored is logged and left out.

        Several sessions may read one batch. The first answer to a line counts, and a charge with the number of its line
        is booked with it, or not at all; one without a number only by the engine that runs the batch. What is not in
        the journal any more is not answered.
        """
        fresh = [answer for answer in answers if _check(answer)]
        charges = list(new_charges)
        stored = self._insert_answers(fresh, now)
        if charges:
            numbered = [each for each in charges if each.number is not None]
            ids = self._ids_of((each.idempotency_key, each.number or 0) for each in numbered)
            unpaid = {id(each) for each, id_ in zip(numbered, ids, strict=True) if id_ in stored}
            booked = [each for each in charges if each.number is None or id(each) in unpaid]
            self._add_charges(booked, budget=budget, now=now)

    def _insert_answers(self, answers: list[NewAnswer], now: float) -> set[int]:
        """Returns the ids of lines that had no answer before."""
        ids = self._ids_of((answer[0], answer[1]) for answer in answers)
        known = {id_: answer for id_, answer in zip(ids, answers, strict=True) if id_ is not None}
        rows = ((id_, known[id_][2], _fit(known[id_][4]), known[id_][3]) for id_ in sorted(known))
        stored: set[int] = set()
        self._lock_batches(id_ // LINES_OF_A_BATCH for id_ in known)
        for some in _parts(rows):
            columns = [list(column) for column in zip(*some, strict=True)]
            stored |= {id_ for (id_,) in self._rows(_INSERT_ANSWERS, (now, *columns))}
        self._take([id_ for id_, answer in known.items() if answer[5]])
        self._announce_answered(stored)
        return stored

    def _announce_answered(self, ids: set[int]) -> None:
        if ids:
            self._do(_ANNOUNCE, (self._channel, LINES_OF_A_BATCH, sorted(ids), self.session or 0))

    def drop(self, idempotency_key: str, number: int) -> None:
        """Delete a line of a batch that our engine runs, or one for which we wait."""
        batch = self._number_of(idempotency_key)
        if batch is not None:
            id_ = batch * LINES_OF_A_BATCH + number
            self._lock_batches([batch])
            self._announce_answered({id_})
            self._lock_keys(id_, id_)
            for (waiter,) in self._rows(_DROP, (id_, batch, self.session, self._owners())):
                self._part_key(id_, waiter)

    def mark_taken(self, idempotency_key: str, number: int) -> None:
        """Mark a stored answer as delivered by this session."""
        self._take(self._known_ids_of([(idempotency_key, number)]))

    def give_back(self, idempotency_key: str, number: int) -> None:
        """Mark a stored answer as not delivered."""
        self.free([(idempotency_key, number)])

    def delivered(self, idempotency_key: str, numbers: Iterable[int]) -> None:
        """Delete lines with their answers; also the batch, if it has ended and nothing is left of it. Leaves the lines
        for which another session waits."""
        ids = self._known_ids_of((idempotency_key, number) for number in numbers)
        if ids:
            self._lock_batches(id_ // LINES_OF_A_BATCH for id_ in ids)
            self._do(_DELETE_DELIVERED, (ids, self.session))
            self._delete_empty_batches([idempotency_key])

    def answers(self, lines: Iterable[tuple[str, int]]) -> list[StoredAnswer | None]:
        """Return the stored answers of lines (idempotency key and number); None for each missing one."""
        places = list(lines)
        ids = self._ids_of(places)
        found = {row[0]: row[1:] for row in self._rows(_ANSWERS, (LINES_OF_A_BATCH, [id_ for id_ in ids if id_]))}
        return [
            _stored_answer(place, found[id_]) if id_ in found else None for place, id_ in zip(places, ids, strict=True)
        ]

    def told_uncertain(self, idempotency_key: str, *, now: float) -> None:
        """A caller is told that a call on another lane may have been billed: that counts as its answer, without a
        body."""
        if self._number_of(idempotency_key) is not None:
            self._insert_answers([(idempotency_key, 0, _NO_ANSWER, None, None, True)], now)
            self.update(idempotency_key, now=now, stage="ended")
            self.booked_call(idempotency_key, now=now)

    # ---- queries ----

    def contents(self, process: str, *, now: float) -> Contents:
        """Return what was learned. Batches and lines stay where others see them: see `adopt` and `claim`."""
        return Contents([], [], self.kept("durations"), self.kept("calibration"))

    def results(self, idempotency_key: str) -> Iterator[Result]:
        """Yield each line of a batch in the order of its input file."""
        number = self._number_of(idempotency_key)
        if number is None:
            return
        last, end = range_of(number)
        last -= 1
        while rows := self._rows(_RESULTS, (last, end, READ_AT_ONCE)):
            for line_id, *rest in rows:
                yield Result(idempotency_key, line_id % LINES_OF_A_BATCH, *rest)
            last = rows[-1][0]

    # ---- after the delivery ----

    def forget_all_taken(self) -> int:
        """Delete every delivered answer whose taker does not live, and return how many there were."""
        rows = self._rows(_FORGET_TAKEN, (self._gone().owners,))
        self._delete_empty_batches()
        return len(rows)

    def compact(self) -> None:
        """Let the tables use the space again of what was deleted. Not inside a transaction."""
        self._do("SET statement_timeout = 0")
        self._do(f"VACUUM {', '.join(TABLES)}")

    def forget_old(self, *, now: float, retention_seconds: float) -> bool:
        """Delete answers older than the retention, and batches that cannot get more of them.

        Returns:
            Whether there are more of them: a transaction deletes no more than `FORGOTTEN_AT_ONCE` answers.
        """
        old = self._rows(_FORGET_OLD, (now - retention_seconds, FORGOTTEN_AT_ONCE))
        self._delete_empty_batches()
        owners = [0, self.session or 0, *self._gone().owners]
        until = now - max(retention_seconds, UNFINISHED_SECONDS)
        too_old = [number for (number,) in self._rows(_TOO_OLD, (until, owners, BATCHES_FORGOTTEN_AT_ONCE))]
        self._delete_batches(too_old)
        self._forget_old_keys(until=now - retention_seconds, most=FORGOTTEN_AT_ONCE)
        self._forget_old_failures(now=now, most=FORGOTTEN_AT_ONCE)
        self.forget_responses(until=now - retention_seconds, open_until=until)
        self._forget_old_charges(now=now)
        return len(old) == FORGOTTEN_AT_ONCE or len(too_old) == BATCHES_FORGOTTEN_AT_ONCE


def _check(answer: NewAnswer) -> bool:
    """Whether an answer can be stored."""
    if answer[2] in STATUS_CODES:
        return True
    logger.error("autobatcher: the journal cannot hold the answer to %s-%d (no status code of HTTP)", *answer[:2])
    return False


def _fit(request_id: str | None) -> str | None:
    """As PostgreSQL can hold it."""
    if request_id is None:
        return None
    return request_id[:MAX_TEXT].replace("\0", "").encode(errors="replace").decode()


def _stored_answer(place: tuple[str, int], row: tuple[Any, ...]) -> StoredAnswer:
    batch_id, status_code, body, request_id, window = row
    return StoredAnswer(*place, batch_id or "", status_code, body, request_id, lane_in(window))


def _parts(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """Split rows, whose last value is a body, into parts of no more than `SENT_AT_ONCE`, or of one row."""
    part: list[tuple[Any, ...]] = []
    size = 0
    for row in rows:
        size += len(row[-1] or b"")
        if part and size > SENT_AT_ONCE:
            yield part
            part, size = [], len(row[-1] or b"")
        part.append(row)
    if part:
        yield part


_INSERT_LINES = "INSERT INTO lines SELECT *, %s::int FROM unnest(%b::bigint[], %b::bytea[], %b::text[], %b::bytea[])"

_INSERT_ANSWERS = """INSERT INTO answers (answered_at, id, status_code, request_id, body)
    SELECT %s::float8, n.* FROM unnest(%b::bigint[], %b::int[], %b::text[], %b::bytea[]) AS n(id, code, request, body)
    WHERE EXISTS (SELECT 1 FROM lines l WHERE l.id = n.id) ON CONFLICT (id) DO NOTHING RETURNING id"""


_ANNOUNCE = """SELECT pg_notify(%s, b.idempotency_key) FROM batches b WHERE number IN (SELECT l.id / %s FROM lines l
    WHERE l.id = ANY(%b::bigint[]) AND l.waiter IS NOT NULL AND l.waiter <> %s)"""

_DROP = """DELETE FROM lines l WHERE id = %s AND EXISTS (SELECT 1 FROM batches b
    WHERE b.number = %s AND (l.waiter = %s OR coalesce(b.owner, 0) = ANY(%s::int[])))
    RETURNING l.waiter"""

_DELETE_DELIVERED = """WITH gone AS
    (DELETE FROM lines WHERE id = ANY(%b::bigint[]) AND (waiter IS NULL OR waiter = %s) RETURNING id)
    DELETE FROM answers USING gone WHERE answers.id = gone.id"""

_ANSWERS = """SELECT a.id, b.batch_id, a.status_code, a.body, a.request_id, b.completion_window
    FROM answers a JOIN batches b ON b.number = a.id / %s WHERE a.id = ANY(%b::bigint[]) AND a.body IS NOT NULL"""

_RESULTS = """SELECT l.id, l.endpoint, l.body, a.status_code, a.body, a.request_id,
    a.id IS NOT NULL AND l.waiter IS NOT NULL
    FROM lines l LEFT JOIN answers a ON a.id = l.id WHERE l.id > %s AND l.id <= %s ORDER BY l.id LIMIT %s"""

_FORGET_TAKEN = """WITH gone AS
    (DELETE FROM lines l USING answers a WHERE a.id = l.id AND l.waiter = ANY(%s::int[]) RETURNING l.id)
    DELETE FROM answers USING gone WHERE answers.id = gone.id RETURNING answers.id"""

_FORGET_OLD = """WITH old AS (DELETE FROM answers WHERE id IN
    (SELECT id FROM answers WHERE answered_at < %s ORDER BY answered_at LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING id)
    DELETE FROM lines USING old WHERE lines.id = old.id RETURNING lines.id"""

_TOO_OLD = """SELECT number FROM batches WHERE changed_at < %s AND coalesce(owner, 0) = ANY(%s::int[])
    ORDER BY number LIMIT %s FOR UPDATE SKIP LOCKED"""
