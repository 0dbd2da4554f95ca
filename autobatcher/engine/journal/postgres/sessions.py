"""The sessions of a journal on PostgreSQL: which engines live, by locks that the server ends with their connections."""

from __future__ import annotations

import math
import os
import socket
import time
from typing import Any, Literal, NamedTuple

from ..health import Session
from ..processes import is_running
from .connection import HEARTBEAT_SECONDS, IDLE_SECONDS, PostgresConnection
from .errors import told
from .pooler import refuse_transaction_pooling
from .schema import channel_of

RELOCK_SECONDS = 2.0
"""How long a session that comes back waits for those who look just now whether it is gone."""

STOPPED_FACTOR = 1.5
"""How many times the idle time a connection may say nothing within a transaction. A large statement over a slow network
takes some seconds to arrive."""

ENDING_SECONDS = 5.0
"""How long it may take until the server has seen that a process of this host is gone: it first does what came last."""

LOOK_SECONDS = 0.05

REMEMBERED_SECONDS = 86_400.0
"""How long a session that is gone is remembered: it may come back, and ask what it wrote last."""


class Gone(NamedTuple):
    """Sessions that do not live. None of them can come back before the transaction ends.

    Attributes:
        owners: all of them.
        waiters: those whose lines are free. The answers of the others were delivered, by processes that still live or
            ended well.
    """

    owners: list[int]
    waiters: list[int]


class SessionStore(PostgresConnection):
    """The statements for sessions.

    Attributes:
        session: our number; None without a session.
        losses: how often the connection was lost, and with it the session, until now. Batches may have been adopted
            meanwhile: see `lost_batches`.
    """

    def __init__(self, url: str, *, is_read_only: bool = False, idle_seconds: float | None = IDLE_SECONDS) -> None:
        self.session: int | None = None
        self.losses: int = 0
        self._row_of_session: tuple[Any, ...] = ()
        self._commits = 0
        self._looked_at = -math.inf  # for those that are stopped
        super().__init__(url, is_read_only=is_read_only, idle_seconds=idle_seconds)
        self._channel = channel_of(self._schema)

    def begin_session(self, process: str, *, now: float, url: str = "") -> None:
        """Begin the session of one client. It lives as long as the connection.

        Args:
            url: of its status page.

        Raises:
            JournalError: if a pooler stands between that gives each transaction another connection.
        """
        self._row_of_session = (process, socket.gethostname(), os.getpid(), url, now)
        row = self._row(
            "INSERT INTO sessions (process, host, pid, url, opened_at) VALUES (%s, %s, %s, %s, %s) RETURNING number",
            self._row_of_session,
        )
        assert row is not None
        number: int = row[0]
        self._rows("SELECT pg_advisory_lock(%s, %s)", (self._lock_class, number))
        self.session = number

    def wait_for_ending(self) -> None:
        """Wait until no session lives whose process, on this host, does not. Not inside a transaction.

        A program that is started again at once would find its own lines taken, and send its requests a second time.
        """
        until = time.monotonic() + ENDING_SECONDS
        while self._has_ending() and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)

    def _has_ending(self) -> bool:
        return any(not is_running(pid) for (pid,) in self._rows(_PROCESSES_HERE, (socket.gethostname(),)))

    def refuse_poolers(self) -> None:
        """Make sure that the lock of the session stays where it is. Not inside a transaction.

        Raises:
            JournalError: if a pooler stands between that gives each transaction another connection.
        """
        assert self.session is not None
        with told(self._shown):
            refuse_transaction_pooling(self._db, self._url, (self._lock_class, self.session))

    def end_session(self, ending: Literal["well", "failed"], *, keeper: int | None = None) -> None:
        """Record how the session's client was closed.

        Args:
            keeper: the session that lives as long as the process. While it does, the answers of a session that was
                closed well stay taken. They are free again if the process is killed.
        """
        self._do("UPDATE sessions SET ending = %s, keeper = %s WHERE number = %s", (ending, keeper, self.session))

    def keep_others(self) -> None:
        """Say that this session has no engine: it lives for the sake of others of its process."""
        self._do("UPDATE sessions SET keeper = number WHERE number = %s", (self.session,))

    def process_exited(self) -> None:
        """The keeper's last word: the process ended well. The answers of its sessions may be deleted."""
        self._do(
            "UPDATE sessions SET ending = 'exited' WHERE number = %s OR keeper = %s AND ending = 'well'",
            (self.session, self.session),
        )

    def sessions(self) -> list[Session]:
        """Return all sessions, the oldest first."""
        return [Session(*row) for row in self._rows(_SESSIONS)]

    def engines(self) -> list[Session]:
        """Return those of engines that live, or died and left batches that nobody has taken, the oldest first."""
        return [Session(*row) for row in self._rows(_ENGINES)]

    def owners(self) -> dict[str, int]:
        """Return the sessions whose engines run batches, by idempotency key. Some of them may be gone."""
        return dict(self._rows(_OWNERS))

    # ---- who is gone ----

    def _gone(self) -> Gone:
        """Find the sessions that do not live, and keep them from coming back before the transaction ends."""
        self._end_stopped()
        found = self._rows(_GONE, (self._lock_class,))
        return Gone([number for number, _ in found], [number for number, is_kept in found if not is_kept])

    def _end_stopped(self) -> None:
        """End connections whose processes were stopped in the middle of a transaction. The server's own timeouts do not
        count between the messages of a pipeline: locks would be kept for as long as the process is stopped."""
        if self._idle_seconds is not None and time.monotonic() - self._looked_at >= HEARTBEAT_SECONDS:
            self._looked_at = time.monotonic()
            self._rows(_END_STOPPED, (self._lock_class, STOPPED_FACTOR * self._idle_seconds))

    def _owners(self) -> list[int]:
        """Who may own a batch that is changed here; 0 means nobody. Without a session, those that are gone."""
        return [self.session] if self.session is not None else [0, *self._gone().owners]

    # ---- a lost connection ----

    def _on_reconnected(self) -> None:
        if self.session is None:
            return
        self.losses += 1
        with self._db.transaction():
            self._db.execute(_END_OLD_CONNECTION, (self._lock_class, self.session))
            self._db.execute("SELECT set_config('lock_timeout', %s, true)", (str(round(RELOCK_SECONDS * 1000)),))
            self._db.execute("SELECT pg_advisory_lock(%s, %s)", (self._lock_class, self.session))
            self._db.execute(_COME_BACK, (self.session, *self._row_of_session))

    def _note_commit(self) -> None:
        if self.session is not None:
            self._commits += 1
            self._do("UPDATE sessions SET commits = %s WHERE number = %s", (self._commits, self.session))

    def was_committed(self) -> bool:
        with told(self._shown):
            self._ensure_connected()
        row = self._row("SELECT commits FROM sessions WHERE number = %s", (self.session,))
        return row == (self._commits,)

    # ---- news ----

    def announce(self, news: str) -> None:
        """Tell the other sessions, after the commit: what they know the beginning of."""
        self._announce([news])

    def _announce(self, keys: list[str]) -> None:
        """Tell the other sessions, after the commit, that something happened to these batches; "" for any."""
        if keys:
            self._do("SELECT pg_notify(%s, key) FROM unnest(%s::text[]) AS k(key)", (self._channel, keys))


_FOUND = """SELECT number, process, host, pid, url, opened_at, ending,
    number IN (SELECT number FROM living_sessions) AS is_alive,
    (SELECT count(*) FROM batches WHERE owner = s.number AND stage <> 'ended') AS batches,
    (SELECT count(*) FROM lines l WHERE waiter = s.number AND NOT EXISTS (SELECT 1 FROM answers a WHERE a.id = l.id))
    FROM sessions s"""

_SESSIONS = f"{_FOUND} ORDER BY number"

_PROCESSES_HERE = "SELECT DISTINCT pid FROM sessions WHERE host = %s AND number IN (SELECT number FROM living_sessions)"

_ENGINES = f"""SELECT * FROM ({_FOUND} WHERE ending = '' AND keeper IS DISTINCT FROM number) AS e
    WHERE is_alive OR batches > 0 ORDER BY number"""

_OWNERS = "SELECT idempotency_key, owner FROM batches WHERE owner IS NOT NULL AND stage <> 'ended'"

_GONE = """SELECT number, is_kept FROM (
        WITH living AS MATERIALIZED (SELECT number FROM living_sessions)
        SELECT number, ending = 'exited' OR ending = 'well' AND coalesce(keeper, 0) IN (SELECT number FROM living)
            AS is_kept
        FROM sessions WHERE number NOT IN (SELECT number FROM living) ORDER BY number OFFSET 0
    ) AS gone WHERE pg_try_advisory_xact_lock_shared(%s, number)"""
"""OFFSET 0 keeps the lock from being taken for sessions that live: for our own it would succeed."""

_END_OLD_CONNECTION = """SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2
    AND granted AND mode = 'ExclusiveLock' AND classid::bigint = (%s::bigint & 4294967295) AND objid::bigint = %s
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()"""
"""The server may not have noticed yet that it is lost."""

_END_STOPPED = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN (SELECT pid FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND mode = 'ExclusiveLock'
        AND classid::bigint = (%s::bigint & 4294967295)
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND state = 'active' AND wait_event = 'ClientRead' AND state_change < clock_timestamp() - %s * interval '1 s'
    AND usename = current_user AND pid <> pg_backend_pid()"""

_COME_BACK = """INSERT INTO sessions (number, process, host, pid, url, opened_at) OVERRIDING SYSTEM VALUE
    VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (number) DO UPDATE SET missed_at = NULL"""
