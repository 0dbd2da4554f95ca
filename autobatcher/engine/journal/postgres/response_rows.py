"""The statements for background responses, which any engine of the journal may be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

from ..response_rows import within
from ..responses import CANCELLED, IN_PROGRESS, QUEUED, KeptResponse
from .adoption import AdoptionStore

LOOKED_AT = 1_000
"""How many responses without an engine are looked at in one statement."""


class ResponseStore(AdoptionStore):
    """The statements for responses."""

    def add_response(self, new: KeptResponse) -> KeptResponse | None:
        """Insert a response of this session. Returns the one that has its id already."""
        row = (*new[:5], new.created_at, self.session, *new[5:9])
        if self._rows(_INSERT, row):
            return None
        return self._found(_BY_ID, (new.id,))

    def response(self, id_: str, owner: bytes) -> KeptResponse | None:
        """Return the response, without what was asked."""
        return self._found(_OF_OWNER, (id_, owner))

    def cancel_response(self, id_: str, owner: bytes, *, now: float) -> KeptResponse | None:
        """Cancel the response if it is open, and return it."""
        self._do(_CANCEL, (CANCELLED, now, id_, owner))
        return self.response(id_, owner)

    def delete_response(self, id_: str, owner: bytes) -> bool:
        """Delete the response; False if there is none."""
        return bool(self._rows("DELETE FROM responses WHERE id = %s AND owner = %b RETURNING 1", (id_, owner)))

    def end_response(self, ended: KeptResponse, *, now: float) -> None:
        """Write how an open response has ended."""
        self._do(_END, (ended.status, ended.response, ended.upstream_id, now, ended.id))

    def begin_responses(self, ids: Sequence[str], *, now: float) -> None:
        """Open responses are in progress."""
        self._do(_BEGIN, (IN_PROGRESS, now, sorted(ids), QUEUED))

    def leave_response(self, id_: str) -> None:
        """The response may be adopted."""
        self._do("UPDATE responses SET session = 0 WHERE id = %s AND session = %s", (id_, self.session))

    def adopt_responses(self, owners: Sequence[bytes], *, most: int) -> list[KeptResponse]:
        """Take open responses that are of no session, or of one that is gone. Each is given once."""
        left = self._rows(_LEFT, (list(owners), self._gone().owners, LOOKED_AT))
        ids = list(within(left, most))
        return [KeptResponse(*row) for row in self._rows(_TAKE, (self.session, ids))] if ids else []

    def open_responses(self, ids: Sequence[str]) -> set[str]:
        """Which of these are open."""
        return {id_ for (id_,) in self._rows(_OPEN, (list(ids),))}

    def forget_responses(self, *, until: float, open_until: float) -> int:
        """Delete those that ended before a time, and open ones made before another. Returns how many there were."""
        return len(self._rows(_FORGET, (until, open_until)))

    def _found(self, statement: LiteralString, values: tuple[Any, ...]) -> KeptResponse | None:
        row = self._row(statement, values)
        return None if row is None else KeptResponse(*row)


_INSERT = """INSERT INTO responses
    (id, owner, digest, status, created_at, changed_at, session, deadline, headers, body, response)
    VALUES (%s, %b, %b, %s, %s, %s, %s, %s, %s, %b, %b) ON CONFLICT (id) DO NOTHING RETURNING 1"""

_BY_ID = """SELECT id, owner, digest, status, created_at, deadline, headers, NULL::bytea, response, upstream_id
    FROM responses WHERE id = %s"""

_OF_OWNER = f"{_BY_ID} AND owner = %b"

_CANCEL = """UPDATE responses SET status = %s, changed_at = %s, body = NULL
    WHERE id = %s AND owner = %b AND status IN ('queued', 'in_progress')"""

_END = """UPDATE responses SET status = %s, response = %b, upstream_id = %s, changed_at = %s, body = NULL
    WHERE id = %s AND status IN ('queued', 'in_progress')"""

_BEGIN = "UPDATE responses SET status = %s, changed_at = %s WHERE id = ANY(%s::text[]) AND status = %s"

_LEFT = """SELECT id, octet_length(body) FROM responses WHERE status IN ('queued', 'in_progress')
    AND owner = ANY(%b::bytea[])
    AND (session = 0 OR session = ANY(%s::int[]) OR session NOT IN (SELECT number FROM sessions))
    ORDER BY created_at, id LIMIT %s FOR UPDATE SKIP LOCKED"""

_TAKE = """UPDATE responses SET session = %s WHERE id = ANY(%s::text[])
    RETURNING id, owner, digest, status, created_at, deadline, headers, body, response, upstream_id"""

_OPEN = "SELECT id FROM responses WHERE id = ANY(%s::text[]) AND status IN ('queued', 'in_progress')"

_FORGET = """DELETE FROM responses WHERE changed_at < %s AND status NOT IN ('queued', 'in_progress')
    OR created_at < %s AND status IN ('queued', 'in_progress') RETURNING 1"""
