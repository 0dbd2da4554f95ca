"""The sessions of clients, by which a journal knows whose answers are taken. Synchronous; for one thread."""

from __future__ import annotations

import os
import socket
from typing import Literal

from .kept import KeptStore


class SessionStore(KeptStore):
    """The statements for sessions."""

    _session: int | None = None

    def begin_session(self, process: str, *, now: float) -> None:
        """Begin the session of one client. Answers are marked as taken by it."""
        row = (process, socket.gethostname(), os.getpid(), now)
        cursor = self._db.execute("INSERT INTO sessions (process, host, pid, opened_at) VALUES (?, ?, ?, ?)", row)
        self._session = cursor.lastrowid

    def end_session(self, ending: Literal["well", "failed"]) -> None:
        """Record how the session's client was closed. Its answers are forgotten after a clean exit, if both ended
        well."""
        self._db.execute("UPDATE sessions SET ending = ? WHERE number = ?", (ending, self._session))

    def processes_closed_well(self) -> list[str]:
        """Return the processes that closed at least one client well."""
        rows = self._db.execute("SELECT DISTINCT process FROM sessions WHERE ending = 'well'")
        return [process for (process,) in rows]

    def process_exited(self, process: str) -> None:
        """The process has exited well. What those of its clients took that were closed well is not delivered again, and
        `forget_old` deletes it."""
        self._db.execute("UPDATE sessions SET ending = 'exited' WHERE ending = 'well' AND process = ?", (process,))

    def has_taken(self, process: str) -> bool:
        """Whether there are answers whose last taker was a client of that process."""
        sessions = "SELECT number FROM sessions WHERE process = ?"
        row = self._db.execute(f"SELECT 1 FROM answers WHERE taken_by IN ({sessions}) LIMIT 1", (process,))
        return row.fetchone() is not None
