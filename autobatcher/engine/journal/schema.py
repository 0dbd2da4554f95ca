"""The journal's tables, and the migration of older files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import lru_cache

from ...errors import JournalError

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE batches (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        stamp TEXT NOT NULL UNIQUE,
        account BLOB NOT NULL,
        base_url TEXT NOT NULL,
        provider TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        completion_window TEXT NOT NULL,
        models TEXT NOT NULL,
        metadata TEXT NOT NULL,
        request_count INTEGER NOT NULL,
        stage TEXT NOT NULL,
        file_id TEXT,
        batch_id TEXT,
        status TEXT NOT NULL DEFAULT '',
        completed INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        created_at REAL NOT NULL,
        changed_at REAL NOT NULL
    );
    -- A line's id is its batch's number times LINES_OF_A_BATCH, plus its own: one tree, which is written at its end.
    CREATE TABLE lines (id INTEGER PRIMARY KEY, digest BLOB NOT NULL, endpoint TEXT NOT NULL, body BLOB);
    CREATE TABLE answers (
        id INTEGER PRIMARY KEY,
        status_code INTEGER NOT NULL,
        request_id TEXT,
        answered_at REAL NOT NULL,
        taken_by INTEGER,
        body BLOB  -- last, so that the others can be read without it
    );
    CREATE TABLE sessions (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        process TEXT NOT NULL,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        opened_at REAL NOT NULL,
        ending TEXT NOT NULL DEFAULT ''  -- 'well' or 'failed', if it was closed
    );
    """,
    "CREATE TABLE durations (id INTEGER PRIMARY KEY CHECK (id = 1), content BLOB NOT NULL);",
    """
    CREATE TABLE charges (
        id INTEGER PRIMARY KEY,
        stamp TEXT NOT NULL,
        hour INTEGER NOT NULL,
        budget TEXT NOT NULL,
        batch_id TEXT NOT NULL,
        metadata TEXT NOT NULL,
        account BLOB NOT NULL,
        provider TEXT NOT NULL,
        base_url TEXT NOT NULL,
        model TEXT NOT NULL,
        endpoint TEXT NOT NULL,
        lane TEXT NOT NULL,
        completion_window TEXT NOT NULL,
        fate TEXT NOT NULL,
        bracket INTEGER NOT NULL,
        requests INTEGER NOT NULL,
        untold INTEGER NOT NULL,
        input INTEGER NOT NULL,
        cached INTEGER NOT NULL,
        output INTEGER NOT NULL,
        reasoning INTEGER NOT NULL,
        UNIQUE (stamp, hour, batch_id, model, endpoint, lane, completion_window, fate, bracket)
    );
    CREATE TABLE calibration (id INTEGER PRIMARY KEY CHECK (id = 1), content BLOB NOT NULL);
    CREATE INDEX charges_by_hour ON charges (hour);
    -- What batches and calls that are not over may cost, in USD.
    CREATE TABLE reservations (stamp TEXT PRIMARY KEY, budget TEXT NOT NULL, amount TEXT NOT NULL);
    """,
    "ALTER TABLE charges ADD COLUMN cache_write INTEGER NOT NULL DEFAULT 0;",
    """
    -- Responses that clients of the proxy ask for later, by id.
    CREATE TABLE responses (
        id TEXT PRIMARY KEY,
        owner BLOB NOT NULL,
        digest BLOB NOT NULL,
        status TEXT NOT NULL,
        created_at REAL NOT NULL,
        changed_at REAL NOT NULL,
        session INTEGER NOT NULL,  -- whose engine makes it; 0 for none
        deadline REAL,
        headers TEXT NOT NULL,  -- their names
        upstream_id TEXT,
        response BLOB NOT NULL,
        body BLOB  -- what is asked, until it has ended
    );
    CREATE INDEX open_responses ON responses (created_at) WHERE status IN ('queued', 'in_progress');
    """,
)
"""The statements from each schema version to the next. Never change a released one; add another."""

LINES_OF_A_BATCH = 2**32
"""Larger than any provider's limit for one batch."""


CLOSED, OPEN = 0x61627463, 0x61627477
"""The file's application id: of a journal whose contents are all in this one file, and of one that has, or had, more of
them in the -wal file beside it."""


def check_schema(connection: sqlite3.Connection, *, may_be_empty: bool) -> bool:
    """Check that an SQLite file is a journal: that it has our tables, made by our statements, and nothing else.

    Returns:
        Whether there is anything in it. False only if `may_be_empty`.

    Raises:
        JournalError: if its schema is newer than ours, or it is not a journal.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    check_version(version)
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master LIMIT 100").fetchall()
    if version == 0 and application == 0 and not found:
        if not may_be_empty:
            raise JournalError("There is nothing in the file yet. A program that is given it makes it its journal.")
        return False
    is_ours = version > 0 and application in (0, CLOSED, OPEN)
    if not is_ours or sorted(found, key=repr) != _made_by(MIGRATIONS[:version]):
        raise JournalError("The file is an SQLite database, but no journal of autobatcher.")
    return True


@lru_cache(maxsize=8)
def _made_by(migrations: tuple[str, ...]) -> list[tuple[str, str, str, str | None]]:
    """The schema that these statements make."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript("".join(migrations))
        return sorted(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"), key=repr)


def migrate(connection: sqlite3.Connection) -> None:
    """Migrate a journal, or an empty file, to the current schema, in one transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < len(MIGRATIONS):
        steps = "".join(MIGRATIONS[version:])
        connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {len(MIGRATIONS)}; COMMIT;")


def check_version(version: int) -> None:
    """Refuse a file of a newer autobatcher. Raises `JournalError`."""
    if version > len(MIGRATIONS):
        raise JournalError(
            f"The journal has schema version {version}; this autobatcher supports up to {len(MIGRATIONS)}: update it."
        )
