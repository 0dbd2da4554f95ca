"""Deletes what a journal's file needs no longer, little by little. Synchronous; for one thread."""

from __future__ import annotations

import sqlite3

from .schema import LINES_OF_A_BATCH

ANSWERS_AT_ONCE = 2_000
"""How many answers one step looks at: no other statement waits for millions of them, and the -wal file stays small. A
step takes some hundredths of a second, if it deletes all of them."""

OF_A_BATCH = "id BETWEEN ? AND ?"
OF_THIS_BATCH = f"id BETWEEN batches.number * {LINES_OF_A_BATCH} AND (batches.number + 1) * {LINES_OF_A_BATCH} - 1"
"""The ids of a batch's lines."""

DELETE_EMPTY = f"DELETE FROM batches WHERE stage = 'ended' AND NOT EXISTS (SELECT 1 FROM lines WHERE {OF_THIS_BATCH})"


class Sweep:
    """Goes over all answers, in steps, and begins again."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._last = -1

    def restart(self) -> None:
        """Begin with the first answer: a step was undone."""
        self._last = -1

    def step(self, *, until: float) -> bool:
        """Delete those of the next answers that were taken by processes which have exited, or came before `until`, and
        batches of which nothing is left.

        Returns:
            Whether there are more answers. If not, nothing refers to a session of a process that has exited.
        """
        ids = self._db.execute("SELECT id FROM answers WHERE id > ? ORDER BY id LIMIT ?", (self._last, ANSWERS_AT_ONCE))
        first, found = self._last + 1, ids.fetchall()
        if not found:
            self._db.execute(f"{DELETE_EMPTY} AND number >= ?", (first // LINES_OF_A_BATCH,))
            self._db.execute("DELETE FROM sessions WHERE ending = 'exited'")
            self.restart()
            return False
        self._last = found[-1][0]
        needless = f"SELECT id FROM answers WHERE {OF_A_BATCH} AND (answered_at < ? OR taken_by IN ({_EXITED}))"
        self._db.execute(f"DELETE FROM lines WHERE id IN ({needless})", (first, self._last, until))
        self._db.execute(f"DELETE FROM answers WHERE id IN ({needless})", (first, self._last, until))
        numbers = (first // LINES_OF_A_BATCH, self._last // LINES_OF_A_BATCH)
        self._db.execute(f"{DELETE_EMPTY} AND number BETWEEN ? AND ?", numbers)
        return True


_EXITED = "SELECT number FROM sessions WHERE ending = 'exited'"
