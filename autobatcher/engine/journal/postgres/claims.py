"""The statements by which engines share lines on PostgreSQL. Synchronous; for one thread."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any

from ...lanes.lane import Lane
from ..records import UNCERTAIN, StoredAnswer, UnclaimedLine, lane_in
from .batch_rows import OF_THIS_BATCH
from .failed_lines import FailedLineStore
from .schema import LINES_OF_A_BATCH
from .shared import Claimed, Missing, RemoteOutcome, Unread, Waiting

UNREAD_SECONDS = 60.0
"""For how long a retry may get an answer that was given before. Behind a load balancer nobody sees that a client had
gone when its answer was sent."""


class ClaimStore(FailedLineStore):
    """The statements for lines that one engine runs, and another one waits for."""

    def claim(self, digests: Sequence[bytes]) -> list[Claimed | None]:
        """Find a line for each request, by its digest, and make this session wait for it. None if there is no free one.

        A line is free if no session waits for it and none was given its answer, or if that session is gone. Those with
        an answer come first, then the oldest. Each is given once, whoever asks at the same moment.
        """
        gone = self._gone()
        found: defaultdict[bytes, deque[tuple[Any, ...]]] = defaultdict(deque)
        for digest, *row in self._rows(_CLAIM, (list(digests), gone.waiters, gone.owners)):
            found[digest].append(tuple(row))
        rows = [found[digest].popleft() if found[digest] else None for digest in digests]
        ids = [row[0] for row in rows if row is not None]
        if ids:
            self._do("UPDATE lines SET waiter = %s WHERE id = ANY(%b::bigint[])", (self.session, ids))
            self._take_calls([row[1] for row in rows if row is not None and lane_in(row[3]) != Lane.BATCH.value])
        return [None if row is None else _claimed(row, gone.owners) for row in rows]

    def _take_calls(self, keys: list[str]) -> None:
        """A call runs nowhere any more: whoever has its line writes its record."""
        if keys:
            self._do("UPDATE batches SET owner = %s WHERE idempotency_key = ANY(%s::text[])", (self.session, keys))

    def renew(self, lines: Iterable[tuple[str, int]], *, now: float) -> None:
        """The answers to these lines are about to be given, and may not arrive: for `retake` they are new again."""
        ids = self._known_ids_of(lines)
        if ids:
            self._do("UPDATE answers SET answered_at = %s WHERE id = ANY(%b::bigint[])", (now, ids))

    def retake(self, digests: Sequence[bytes], *, since: float) -> list[Claimed | None]:
        """Find an answer for each retry that a session was given since then, in Unix seconds: its client may have gone
        before it had read it. Or one that became free after `claim` had looked. The answer is ours from now on."""
        ids, claimed = [], []
        newest = {digest: row for digest, *row in self._rows(_RETAKE, (list(digests), since))}
        for digest in digests:
            row = newest.pop(digest, None)
            claimed.append(None if row is None else _claimed(tuple(row), []))
            ids += [] if row is None else [row[0]]
        if ids:
            self._do("UPDATE lines SET waiter = %s WHERE id = ANY(%b::bigint[])", (self.session, ids))
        return claimed

    def is_awaited_elsewhere(self, digests: Sequence[bytes]) -> set[bytes]:
        """Return those digests of which another session that lives waits for a line without an answer.

        Or of which a line is in a batch whose engine is gone, and that it may still create if it comes back first. The
        next engine that adopts batches decides that.
        """
        rows = self._rows(_AWAITED, (list(digests), self.session or 0))
        return {digest for (digest,) in rows}

    def free(self, lines: Iterable[tuple[str, int]]) -> None:
        """Nobody here waits for these lines any more, and their answers were not delivered: anybody may claim them."""
        ids = self._known_ids_of(lines)
        if ids:
            self._do("UPDATE lines SET waiter = NULL WHERE id = ANY(%b::bigint[]) AND waiter = %s", (ids, self.session))

    def outcomes_of(self, lines: Iterable[tuple[str, int]]) -> list[RemoteOutcome]:
        """Look for the answers of lines that this session waits for, and that others run. Changes nothing but this: a
        line that was freed while our session was lost, and that nobody has claimed, is ours again."""
        places = list(lines)
        ids = self._ids_of(places)
        known = [id_ for id_ in ids if id_ is not None]
        self._take(known)
        found = {row[0]: row[1:] for row in self._rows(_OUTCOMES, (known, self.session))}
        failed = self._failures_of(place for place, id_ in zip(places, ids, strict=True) if id_ not in found)
        return [
            _outcome(place, found[id_]) if id_ in found else failed.get(place, Missing())
            for place, id_ in zip(places, ids, strict=True)
        ]

    def awaits_others(self, idempotency_key: str) -> bool:
        """Whether another session that lives waits for an answer of this batch."""
        return self._rows(_AWAITS_OTHERS, (idempotency_key, self.session or 0)) != []

    def _take(self, ids: list[int]) -> None:
        """Nobody else may claim these lines. What somebody claims just now is theirs."""
        if ids:
            self._do(_TAKE, (self.session, sorted(ids)))


def _claimed(row: tuple[Any, ...], gone: list[int]) -> Claimed:
    line_id, key, owner, window, answered_at, is_stored, status, changed_at = row
    line = UnclaimedLine(
        key,
        line_id % LINES_OF_A_BATCH,
        changed_at if answered_at is None else answered_at,
        is_stored,
        lane=lane_in(window),
        is_paid=answered_at is not None or status == UNCERTAIN,
    )
    return Claimed(line, owner, owner is not None and owner not in gone)


def _outcome(place: tuple[str, int], row: tuple[Any, ...]) -> RemoteOutcome:
    batch_id, status_code, body, request_id, window, has_ended, is_hash_only = row
    if body is not None:
        return StoredAnswer(*place, batch_id or "", status_code, body, request_id, lane_in(window))
    if not has_ended:
        return Waiting()
    return Unread() if is_hash_only else Missing()


_CLAIM = f"""SELECT w.digest, f.* FROM
    (SELECT digest, count(*) AS number FROM unnest(%b::bytea[]) AS w(digest) GROUP BY digest ORDER BY digest OFFSET 0) w
    CROSS JOIN (SELECT %s::int[] AS waiters, %s::int[] AS owners OFFSET 0) g CROSS JOIN LATERAL (
        SELECT l.id, b.idempotency_key, b.owner, b.completion_window, a.answered_at, a.body IS NOT NULL, b.status,
            b.changed_at
        FROM lines l JOIN batches b ON b.number = l.id / {LINES_OF_A_BATCH} LEFT JOIN answers a ON a.id = l.id
        WHERE l.digest = w.digest AND (l.waiter IS NULL OR l.waiter = ANY(g.waiters))
        AND (b.stage <> 'intended' OR b.owner IS NOT NULL AND b.owner <> ALL(g.owners))
        AND (b.stage <> 'ended' OR a.id IS NOT NULL OR l.body IS NULL)
        AND NOT EXISTS (SELECT 1 FROM keys k WHERE k.line_id = l.id)
        ORDER BY a.id IS NULL, l.id LIMIT w.number FOR UPDATE OF l) AS f"""
"""It locks lines in the order of their digests: two that claim the same wait for one another, and never in a circle.
What was never sent, and never will be, is left out, and what belongs to a key: see `claim_keys`."""

_RETAKE = f"""SELECT DISTINCT ON (l.digest) l.digest, l.id, b.idempotency_key, b.owner, b.completion_window,
        a.answered_at, true, b.status, b.changed_at
    FROM lines l JOIN batches b ON b.number = l.id / {LINES_OF_A_BATCH} JOIN answers a ON a.id = l.id
    WHERE l.digest = ANY(%b::bytea[]) AND (l.waiter IS NULL OR a.answered_at >= %s) AND a.body IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM keys k WHERE k.line_id = l.id)
    ORDER BY l.digest, a.answered_at DESC"""

_AWAITED = f"""SELECT DISTINCT l.digest FROM lines l JOIN batches b ON b.number = l.id / {LINES_OF_A_BATCH}
    WHERE l.digest = ANY(%b::bytea[]) AND NOT EXISTS (SELECT 1 FROM answers a WHERE a.id = l.id)
    AND (l.waiter <> %s AND l.waiter IN (SELECT number FROM living_sessions)
        OR b.stage = 'intended' AND b.owner NOT IN (SELECT number FROM living_sessions))"""

_OUTCOMES = f"""SELECT l.id, b.batch_id, a.status_code, a.body, a.request_id, b.completion_window, b.stage = 'ended',
    l.body IS NULL FROM lines l JOIN batches b ON b.number = l.id / {LINES_OF_A_BATCH}
    LEFT JOIN answers a ON a.id = l.id WHERE l.id = ANY(%b::bigint[]) AND l.waiter = %s"""

_AWAITS_OTHERS = f"""SELECT 1 FROM batches b WHERE idempotency_key = %s AND EXISTS (SELECT 1 FROM lines l
    WHERE l.{OF_THIS_BATCH} AND l.waiter <> %s AND l.waiter IN (SELECT number FROM living_sessions)
    AND NOT EXISTS (SELECT 1 FROM answers a WHERE a.id = l.id))"""

_TAKE = """UPDATE lines SET waiter = %s WHERE id IN
    (SELECT id FROM lines WHERE id = ANY(%b::bigint[]) AND waiter IS NULL FOR UPDATE SKIP LOCKED)"""
