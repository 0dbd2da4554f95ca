"""The statements for lines that failed, and that another engine waits for. Synchronous; for one thread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .batch_rows import BatchStore
from .schema import LINES_OF_A_BATCH
from .shared import Failed

FAILURE_SECONDS = 3600.0
"""How long it is kept why a line failed. Who waits for it looks every few seconds, and reasons may quote a prompt."""


class FailedLineStore(BatchStore):
    """A line that failed is deleted, so that nobody claims it. Who waits for it in another session is told why."""

    def fail(self, idempotency_key: str, numbers: Sequence[int], ending: str, *, now: float) -> None:
        """Delete lines of a batch that our engine runs. `ending` says how they failed, to those who wait elsewhere."""
        batch = self._number_of(idempotency_key)
        if batch is None or not numbers:
            return
        first = batch * LINES_OF_A_BATCH
        ids = sorted(first + number for number in numbers)
        self._lock_batches([batch])
        self._announce_awaited([batch])
        self._lock_keys(ids[0], ids[-1])
        self._do("SELECT 1 FROM lines WHERE id = ANY(%b::bigint[]) ORDER BY digest, id FOR UPDATE", (ids,))
        self._do(_PART_KEYS, (ids,))
        parameters = (ids, batch, self._owners(), idempotency_key, first, now, ending, self.session or 0)
        self._do(_FAIL, parameters)

    def _failures_of(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Failed]:
        """Those of these lines for which this session waited, and which failed."""
        keys = list({key for key, _ in places})
        rows = self._rows(_FAILURES, (self.session or 0, keys)) if keys else []
        return {(key, number): Failed(ending) for key, number, ending in rows}

    def _forget_old_failures(self, *, now: float, most: int) -> None:
        self._do(_FORGET_OLD, (now - FAILURE_SECONDS, most))


_PART_KEYS = """UPDATE keys k SET line_id = NULL, session = l.waiter FROM lines l
    WHERE l.id = k.line_id AND l.id = ANY(%b::bigint[]) AND l.waiter IS NOT NULL"""

_FAIL = """WITH gone AS (DELETE FROM lines WHERE id = ANY(%b::bigint[])
        AND EXISTS (SELECT 1 FROM batches WHERE number = %s AND coalesce(owner, 0) = ANY(%s::int[]))
        RETURNING id, waiter)
    INSERT INTO failures (idempotency_key, number, waiter, failed_at, ending)
    SELECT %s, id - %s, waiter, %s, %s FROM gone WHERE waiter <> %s ON CONFLICT DO NOTHING"""

_FAILURES = """SELECT idempotency_key, number, ending FROM failures
    WHERE waiter = %s AND idempotency_key = ANY(%s::text[])"""

_FORGET_OLD = """DELETE FROM failures WHERE (idempotency_key, number) IN
    (SELECT idempotency_key, number FROM failures WHERE failed_at < %s ORDER BY failed_at LIMIT %s
    FOR UPDATE SKIP LOCKED)"""
