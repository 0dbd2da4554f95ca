"""The statements by which one engine gets to see to a request with an idempotency key. Synchronous; for one thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..records import StoredAnswer, lane_in
from .claims import ClaimStore
from .schema import LINES_OF_A_BATCH
from .sessions import Gone
from .shared import Held, KeyOutcome, Reused, WantedKey

_FAILURE = 400
"""From this status on, an answer does not use a key up."""


class _Row(NamedTuple):
    """A key, and what is known of its line.

    Attributes:
        creator: the session that may still create the line's batch; None if it is created, or never will be.
    """

    key: bytes
    digest: bytes
    session: int
    bound_to: int | None
    line_id: int | None
    waiter: int | None
    status_code: int | None
    has_body: bool
    creator: int | None

    def is_free(self, gone: Gone) -> bool:
        """Whether its request has failed, or was never sent and nobody is there to send it."""
        if self.bound_to is None:
            return self.has_nobody(gone)
        return self.line_id is None or (self.status_code or 0) >= _FAILURE

    def has_nobody(self, gone: Gone) -> bool:
        """Whether no session that lives sees to it."""
        return self.session == 0 or self.session in gone.owners

    @property
    def is_unread(self) -> bool:
        """Whether it has an answer that must be read upstream."""
        return self.status_code is not None and not self.has_body


class KeyClaimStore(ClaimStore):
    """The statements for requests with keys."""

    def claim_keys(self, wanted: Sequence[WantedKey], *, now: float) -> list[KeyOutcome]:
        """Find what becomes of requests with keys. The keys must differ.

        Returns:
            For each: `Reused`; `Held`; its answer, of which nothing is taken; a line that this session waits for from
            now on; or None: the key is this session's, and its request is to be sent.
        """
        outcomes = self._outcomes(wanted, self._key_rows(wanted), self._gone())
        open_ = [each for each in wanted if each.key not in outcomes]
        if open_:
            outcomes |= self._take_keys(open_, now)
        return [outcomes[each.key] for each in wanted]

    def _key_rows(self, wanted: Sequence[WantedKey]) -> dict[bytes, _Row]:
        rows = self._rows(_KEYS, ([each.key for each in wanted],))
        return {row[0]: _Row(*row) for row in rows}

    def _outcomes(self, wanted: Sequence[WantedKey], rows: dict[bytes, _Row], gone: Gone) -> dict[bytes, KeyOutcome]:
        """Those that are certain; the keys that are left out may be taken."""
        outcomes: dict[bytes, KeyOutcome] = {}
        answered: dict[int, bytes] = {}
        for each in wanted:
            row = rows.get(each.key)
            if row is None or row.is_free(gone):
                continue
            if row.digest != each.digest:
                outcomes[each.key] = Reused()
            elif row.line_id is not None and row.has_body:
                answered[row.line_id] = row.key
            elif self._is_held(each, row, gone):
                outcomes[each.key] = Held()
        return outcomes | {answered[id_]: answer for id_, answer in self._copies(list(answered)).items()}

    def _copies(self, ids: list[int]) -> dict[int, StoredAnswer]:
        rows = self._rows(_COPIES, (ids,)) if ids else []
        return {
            id_: StoredAnswer(key, id_ % LINES_OF_A_BATCH, batch_id or "", status, body, request_id, lane_in(window))
            for id_, key, batch_id, status, body, request_id, window in rows
        }

    def _is_held(self, wanted: WantedKey, row: _Row, gone: Gone) -> bool:
        """Whether another request with the key waits, in a session that lives, or may still be sent by one that comes
        back before others have adopted its batch."""
        if wanted.is_ours and row.session == self.session:
            return False
        if row.is_unread:
            return not row.has_nobody(gone)
        if row.creator in gone.owners:
            return True
        return row.bound_to is None or (row.waiter is not None and row.waiter not in gone.waiters)

    def _take_keys(self, wanted: Sequence[WantedKey], now: float) -> dict[bytes, KeyOutcome]:
        """Take the keys that are free, and claim the lines that were left. Others may do so at this moment."""
        columns = [each.key for each in wanted], [each.digest for each in wanted]
        fresh = {key for (key,) in self._rows(_INSERT, (self.session, now, *columns))}
        self._do("SELECT 1 FROM keys WHERE key = ANY(%b::bytea[]) ORDER BY key FOR UPDATE", (columns[0],))
        rows = self._key_rows(wanted)
        known = [each for each in wanted if each.key not in fresh]
        outcomes = self._outcomes(known, rows, self._gone())
        ours = [each for each in wanted if each.key not in outcomes]
        self._free_lines_of([rows[each.key] for each in ours])
        self._do(_TAKE_KEYS, (self.session, now, [each.key for each in ours], [each.digest for each in ours]))
        claimed = self.claim([each.digest for each in ours])
        found = {each.key: line for each, line in zip(ours, claimed, strict=True)}
        places = {key: each.line for key, each in found.items() if each is not None}
        ids = self._ids_of((line.idempotency_key, line.number) for line in places.values())
        self._bind_keys({key: id_ for key, id_ in zip(places, ids, strict=True) if id_ is not None})
        return outcomes | found

    def _free_lines_of(self, rows: list[_Row]) -> None:
        """Let these lines be claimed: they wait for requests of ours, or their answers are to be read once more."""
        ids = sorted(row.line_id for row in rows if row.line_id is not None and self._is_to_be_claimed(row))
        if ids:
            self._do("UPDATE lines SET waiter = NULL WHERE id = ANY(%b::bigint[])", (ids,))

    def _is_to_be_claimed(self, row: _Row) -> bool:
        return row.waiter == self.session if row.status_code is None else row.is_unread and row.status_code < _FAILURE


_KEYS = f"""SELECT k.key, k.digest, k.session, k.line_id, l.id, l.waiter, a.status_code, a.body IS NOT NULL,
    CASE WHEN b.stage = 'intended' THEN b.owner END
    FROM keys k LEFT JOIN lines l ON l.id = k.line_id LEFT JOIN answers a ON a.id = l.id
    LEFT JOIN batches b ON b.number = l.id / {LINES_OF_A_BATCH} WHERE k.key = ANY(%b::bytea[])"""

_COPIES = f"""SELECT a.id, b.idempotency_key, b.batch_id, a.status_code, a.body, a.request_id, b.completion_window
    FROM answers a JOIN batches b ON b.number = a.id / {LINES_OF_A_BATCH} WHERE a.id = ANY(%b::bigint[])"""

_INSERT = """INSERT INTO keys (key, digest, session, used_at) SELECT n.key, n.digest, %s::int, %s::float8
    FROM unnest(%b::bytea[], %b::bytea[]) AS n(key, digest) ORDER BY n.key
    ON CONFLICT (key) DO NOTHING RETURNING key"""

_TAKE_KEYS = """UPDATE keys k SET digest = n.digest, session = %s, line_id = NULL, used_at = %s
    FROM unnest(%b::bytea[], %b::bytea[]) AS n(key, digest) WHERE k.key = n.key"""
