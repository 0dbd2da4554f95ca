"""The statements by which an engine takes the batches of another one, and leaves its own.

Synchronous; for one thread.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ..health import WaitingAccount
from ..records import UNCERTAIN, UnclaimedLine
from .batch_rows import CALLS
from .claims import UNREAD_SECONDS
from .key_claims import KeyClaimStore
from .schema import LINES_OF_A_BATCH
from .sessions import REMEMBERED_SECONDS
from .shared import Adopted, Lost


class AdoptionStore(KeyClaimStore):
    """The statements for batches that change hands."""

    def adopt(self, accounts: Sequence[bytes], *, keys: Sequence[str] = (), but: Sequence[str] = ()) -> list[Adopted]:
        """Take the unfinished batches of these accounts that nobody runs, or whose session is gone. Each is given once.

        A session that comes back at the same moment has lost all of them, or none. Lines for which one waits that is
        gone are free to be claimed; nothing is written for each, and if it comes back before, it waits for them again.

        Args:
            accounts: fingerprints.
            keys: of batches to take in any case, even if they have ended, unless another engine runs them. For answers
                that are to be read again, because the journal has no bodies.
            but: keys of batches to leave to others.
        """
        gone = self._gone()
        owners = [0, *gone.owners]
        numbers = dict(self._rows(_ADOPT, (self.session, list(accounts), list(but), list(keys), owners)))
        if not numbers:
            return []
        self._numbers |= numbers
        ranges = list(numbers.values())
        self._announce_awaited(ranges)
        lines = self._unanswered_lines(ranges, gone.waiters)
        records = self._records("b.number = ANY(%s) ORDER BY b.number", (ranges,))
        return [Adopted(record, lines[numbers[record.idempotency_key]]) for record in records]

    def _unanswered_lines(
        self, numbers: list[int], gone: list[int]
    ) -> dict[int, list[tuple[bytes, UnclaimedLine, int | None]]]:
        """The lines of batches, whose numbers are the keys, that have no answer."""
        lines: defaultdict[int, list[tuple[bytes, UnclaimedLine, int | None]]] = defaultdict(list)
        for key, since, line_id, digest, waiter, is_paid in self._rows(_UNANSWERED, (gone, numbers)):
            line = UnclaimedLine(key, line_id % LINES_OF_A_BATCH, since, is_paid=is_paid)
            lines[line_id // LINES_OF_A_BATCH].append((digest, line, waiter))
        return lines

    def leave(self, idempotency_key: str) -> None:
        """Leave an unfinished batch of this session: any engine may adopt it."""
        self._do(_LEAVE, (idempotency_key, self.session))

    def release_all(self) -> None:
        """Leave all that this session has, at a graceful end: others may adopt its batches at once, and claim the lines
        without an answer for which it waits."""
        self._do(
            "UPDATE lines l SET waiter = NULL WHERE waiter = %s AND NOT EXISTS (SELECT 1 FROM answers a "
            "WHERE a.id = l.id)",
            (self.session,),
        )
        self._do("UPDATE batches SET owner = NULL WHERE owner = %s AND stage <> 'ended'", (self.session,))
        self._announce([""])

    def lost_batches(self, keys: Sequence[str]) -> dict[str, Lost]:
        """Return those of our batches, by idempotency key, that are not ours any more."""
        owners = dict(
            self._rows(
                "SELECT idempotency_key, owner FROM batches WHERE idempotency_key = ANY(%s::text[])", (list(keys),)
            )
        )
        return {
            key: Lost.ADOPTED if key in owners else Lost.FORGOTTEN
            for key in keys
            if key not in owners or owners[key] != self.session
        }

    def sweep_sessions(self, *, now: float) -> None:
        """Delete what sessions left that are gone: delivered answers, if the process ended well too. Else their lines
        become free. Their own rows go when no batch is theirs, and a day after somebody found them gone.

        Answers that were delivered a moment ago are left to a later sweep: a retry may come for them, as to a session
        that lives."""
        gone = self._gone()
        if not gone.owners:
            return
        self._do(_FREE_LINES, (gone.waiters,))
        self._do("DELETE FROM keys WHERE line_id IS NULL AND session = ANY(%s::int[])", (gone.owners,))
        exited = [number for (number,) in self._rows(_EXITED, (gone.owners,))]
        if exited:
            self._do(_DELETE_TAKEN, (exited, now - UNREAD_SECONDS))
            self._do(_FREE_UNLESS_GIVEN, (exited, now - UNREAD_SECONDS))
            self._delete_empty_batches()
        self._do("UPDATE sessions SET missed_at = %s WHERE number = ANY(%s) AND missed_at IS NULL", (now, gone.owners))
        self._do(_DELETE_SESSIONS, (gone.owners, now - REMEMBERED_SECONDS))

    def waiting_accounts(self) -> list[WaitingAccount]:
        """Return the accounts with unfinished batches that no session runs that lives."""
        return [WaitingAccount(*row) for row in self._rows(_WAITING_ACCOUNTS)]


_IS_UNCERTAIN = f"b.status = '{UNCERTAIN}'"

_ADOPT = f"""UPDATE batches SET owner = %s WHERE number IN (SELECT number FROM batches
    WHERE (account = ANY(%b::bytea[]) AND stage <> 'ended' AND NOT {CALLS} AND idempotency_key <> ALL(%s::text[])
        OR idempotency_key = ANY(%s::text[]))
    AND coalesce(owner, 0) = ANY(%s::int[]) ORDER BY number FOR UPDATE SKIP LOCKED)
    RETURNING idempotency_key, number"""

_LEAVE = "UPDATE batches SET owner = NULL WHERE idempotency_key = %s AND owner = %s AND stage <> 'ended'"

_FREE_LINES = """UPDATE lines SET waiter = NULL WHERE id IN
    (SELECT id FROM lines WHERE waiter = ANY(%s::int[]) LIMIT 20000 FOR UPDATE SKIP LOCKED)"""
"""No more than what takes a second. The next sweep goes on: until then the sessions are remembered."""

_FREE_UNLESS_GIVEN = """UPDATE lines SET waiter = NULL WHERE id IN
    (SELECT l.id FROM lines l WHERE l.waiter = ANY(%s::int[])
    AND NOT EXISTS (SELECT 1 FROM answers a WHERE a.id = l.id AND a.answered_at >= %s) LIMIT 20000
    FOR UPDATE SKIP LOCKED)"""

_UNANSWERED = f"""SELECT b.idempotency_key, b.changed_at, l.id, l.digest,
    CASE WHEN l.waiter = ANY(%s::int[]) THEN NULL ELSE l.waiter END, {_IS_UNCERTAIN}
    FROM batches b JOIN lines l
    ON l.id BETWEEN b.number * {LINES_OF_A_BATCH} AND (b.number + 1) * {LINES_OF_A_BATCH} - 1
    WHERE b.number = ANY(%s::bigint[]) AND NOT EXISTS (SELECT 1 FROM answers a WHERE a.id = l.id) ORDER BY l.id"""

_EXITED = "SELECT number FROM sessions WHERE ending = 'exited' AND number = ANY(%s::int[])"

_DELETE_TAKEN = """WITH gone AS (DELETE FROM lines WHERE id IN (SELECT l.id FROM lines l JOIN answers a ON a.id = l.id
    WHERE l.waiter = ANY(%s::int[]) AND a.answered_at < %s AND NOT EXISTS (SELECT 1 FROM keys WHERE line_id = l.id)
    FOR UPDATE OF l SKIP LOCKED) RETURNING id)
    DELETE FROM answers USING gone WHERE answers.id = gone.id"""
"""What has a key of its caller stays for whoever asks with that again."""

_DELETE_SESSIONS = """DELETE FROM sessions s WHERE number = ANY(%s::int[]) AND (ending <> '' OR missed_at < %s)
    AND NOT EXISTS (SELECT 1 FROM lines WHERE waiter = s.number)
    AND NOT EXISTS (SELECT 1 FROM batches WHERE owner = s.number AND stage <> 'ended')"""

_WAITING_ACCOUNTS = f"""SELECT account, base_url, provider, count(*) FROM batches WHERE stage <> 'ended' AND NOT {CALLS}
    AND (owner IS NULL OR owner NOT IN (SELECT number FROM living_sessions)) GROUP BY 1, 2, 3 ORDER BY min(number)"""
