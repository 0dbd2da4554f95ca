"""The statements for background responses. Synchronous; for one thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .responses import CANCELLED, IN_PROGRESS, QUEUED, KeptResponse
from .sessions import SessionStore

ADOPTED_BYTES = 64_000_000
"""How many bytes of prompts are adopted at once, but for a first one that is larger."""


class ResponseStore(SessionStore):
    """The statements for responses."""

    def add_response(self, new: KeptResponse) -> KeptResponse | None:
        """Insert a response of this session. Returns the one that has its id already."""
        row = (*new[:5], new.created_at, self._session, *new[5:9])
        if self._db.execute(_INSERT, row).rowcount:
            return None
        return self._found(_BY_ID, (new.id,))

    def response(self, id_: str, owner: bytes) -> KeptResponse | None:
        """Return the response, without what was asked."""
        return self._found(_OF_OWNER, (id_, owner))

    def cancel_response(self, id_: str, owner: bytes, *, now: float) -> KeptResponse | None:
        """Cancel the response if it is open, and return it."""
        self._db.execute(_CANCEL, (CANCELLED, now, id_, owner))
        return self.response(id_, owner)

    def delete_response(self, id_: str, owner: bytes) -> bool:
        """Delete the response; False if there is none."""
        return self._db.execute("DELETE FROM responses WHERE id = ? AND owner = ?", (id_, owner)).rowcount > 0

    def end_response(self, ended: KeptResponse, *, now: float) -> None:
        """Write how an open response has ended."""
        self._db.execute(_END, (ended.status, ended.response, ended.upstream_id, now, ended.id))

    def begin_responses(self, ids: Iterable[str], *, now: float) -> None:
        """Open responses are in progress."""
        self._db.executemany(_BEGIN, ((IN_PROGRESS, now, id_, QUEUED) for id_ in ids))

    def leave_response(self, id_: str) -> None:
        """The response may be adopted."""
        self._db.execute("UPDATE responses SET session = 0 WHERE id = ?", (id_,))

    def adopt_responses(self, owners: Sequence[bytes], *, most: int) -> list[KeptResponse]:
        """Take open responses that are of no session, or of an earlier one."""
        wanted = set(owners)
        sizes = ((id_, size) for id_, owner, size in self._db.execute(_LEFT, (self._session,)) if owner in wanted)
        ids = list(within(sizes, most))
        self._db.executemany("UPDATE responses SET session = ? WHERE id = ?", ((self._session, id_) for id_ in ids))
        found = (self._found(_WITH_BODY, (id_,)) for id_ in ids)
        return [each for each in found if each is not None]

    def open_responses(self, ids: Iterable[str]) -> set[str]:
        """Which of these are open."""
        return {id_ for id_ in ids if self._db.execute(_IS_OPEN, (id_,)).fetchone()}

    def forget_responses(self, *, until: float, open_until: float) -> int:
        """Delete those that ended before a time, and open ones made before another. Returns how many there were."""
        return self._db.execute(_FORGET, (until, open_until)).rowcount

    def _found(self, statement: str, values: tuple[Any, ...]) -> KeptResponse | None:
        row = self._db.execute(statement, values).fetchone()
        return None if row is None else KeptResponse(*row)


def within(sizes: Iterable[tuple[str, int]], most: int) -> Iterator[str]:
    """The first ids, no more than `most`, whose bodies have no more than `ADOPTED_BYTES` together. Pure."""
    total = 0
    for number, (id_, size) in enumerate(sizes):
        total += size
        if number >= most or (number and total > ADOPTED_BYTES):
            return
        yield id_


_INSERT = """INSERT OR IGNORE INTO responses
    (id, owner, digest, status, created_at, changed_at, session, deadline, headers, body, response)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_BY_ID = """SELECT id, owner, digest, status, created_at, deadline, headers, NULL, response, upstream_id
    FROM responses WHERE id = ?"""

_OF_OWNER = f"{_BY_ID} AND owner = ?"

_WITH_BODY = """SELECT id, owner, digest, status, created_at, deadline, headers, body, response, upstream_id
    FROM responses WHERE id = ?"""

_CANCEL = """UPDATE responses SET status = ?, changed_at = ?, body = NULL
    WHERE id = ? AND owner = ? AND status IN ('queued', 'in_progress')"""

_END = """UPDATE responses SET status = ?, response = ?, upstream_id = ?, changed_at = ?, body = NULL
    WHERE id = ? AND status IN ('queued', 'in_progress')"""

_BEGIN = "UPDATE responses SET status = ?, changed_at = ? WHERE id = ? AND status = ?"

_LEFT = """SELECT id, owner, length(body) FROM responses
    WHERE status IN ('queued', 'in_progress') AND session <> ? ORDER BY created_at, id"""

_IS_OPEN = "SELECT 1 FROM responses WHERE id = ? AND status IN ('queued', 'in_progress')"

_FORGET = """DELETE FROM responses WHERE changed_at < ? AND status NOT IN ('queued', 'in_progress')
    OR created_at < ? AND status IN ('queued', 'in_progress')"""
