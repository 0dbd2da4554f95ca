"""The statements that keep idempotency keys of callers and lines together. Synchronous; for one thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .limits import LimitStore


class KeyStore(LimitStore):
    """Which line is the one of a caller's key.

    A key without a line belongs to a request that waits to be sent in its session. One whose line is gone is free.
    """

    def release_key(self, key: bytes) -> None:
        """The request of this session with the key failed, or its caller left: anybody may use the key. It stays with a
        line that has an answer, or that somebody can claim."""
        self._do(_RELEASE, (key, self.session, self.session))
        self.leave_key(key)

    def leave_key(self, key: bytes) -> None:
        """No request of this session sees to the key any more: whoever asks again may read its answer upstream, if the
        journal does not store it."""
        self._do("UPDATE keys SET session = 0 WHERE key = %s AND session = %s", (key, self.session))

    def lost_keys(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return those of these keys of ours that are not ours any more."""
        ours = self._rows(
            "SELECT key FROM keys WHERE key = ANY(%b::bytea[]) AND session = %s", (list(keys), self.session)
        )
        return set(keys) - {key for (key,) in ours}

    def _bind_keys(self, lines: Mapping[bytes, int]) -> None:
        """These lines are those of the keys, unless another session has taken a key meanwhile."""
        if lines:
            self._do(_BIND, (list(lines), list(lines.values()), self.session))

    def _lock_keys(self, first: int, last: int) -> None:
        """Before the lines with these ids are deleted: keys are locked before lines, as `claim_keys` does."""
        self._do("SELECT 1 FROM keys WHERE line_id BETWEEN %s AND %s ORDER BY key FOR UPDATE", (first, last))

    def _part_key(self, line_id: int, waiter: int | None) -> None:
        """A line is gone, and its request goes on without it, or fails; see `release_key`."""
        if waiter is not None:
            self._do("UPDATE keys SET line_id = NULL, session = %s WHERE line_id = %s", (waiter, line_id))

    def _part_keys(self, first: int, last: int) -> None:
        """Lines are about to be deleted: requests that wait for their answers go on with their keys."""
        self._lock_keys(first, last)
        self._do(_PART, (first, last))

    def _forget_old_keys(self, *, until: float, most: int) -> None:
        """Delete keys whose lines are gone, or that their sessions left."""
        self._do(_FORGET_OLD, (until, most))


_RELEASE = """DELETE FROM keys k WHERE key = %s AND session = %s AND NOT EXISTS (SELECT 1 FROM lines l
    WHERE l.id = k.line_id AND (l.waiter IS DISTINCT FROM %s OR EXISTS (SELECT 1 FROM answers a WHERE a.id = l.id)))"""

_BIND = """UPDATE keys k SET line_id = n.id FROM unnest(%b::bytea[], %b::bigint[]) AS n(key, id)
    WHERE k.key = n.key AND k.session = %s"""

_PART = """UPDATE keys k SET line_id = NULL, session = l.waiter FROM lines l WHERE l.id = k.line_id
    AND k.line_id BETWEEN %s AND %s AND l.waiter IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM answers a WHERE a.id = l.id)"""

_FORGET_OLD = """DELETE FROM keys WHERE key IN (SELECT key FROM keys k WHERE used_at < %s
    AND NOT EXISTS (SELECT 1 FROM lines l WHERE l.id = k.line_id)
    AND (line_id IS NOT NULL OR session NOT IN (SELECT number FROM living_sessions))
    ORDER BY used_at LIMIT %s FOR UPDATE SKIP LOCKED)"""
