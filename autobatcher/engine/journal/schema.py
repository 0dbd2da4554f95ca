"""The journal's tables, and the migration of older files."""

from __future__ import annotations

import sqlite3

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
)
"""The statements from each schema version to the next. Never change a released one; add another."""

TABLES = ("batches", "lines", "answers", "sessions")

LINES_OF_A_BATCH = 2**32
"""Larger than any provider's limit for one batch."""


def migrate(connection: sqlite3.Connection) -> None:
    """Migrate the file to the current schema, in one transaction.

    Raises:
        JournalError: if its schema is newer than ours, or it is not a journal.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    check_version(version)
    if version == 0 and connection.execute("SELECT 1 FROM sqlite_master").fetchone() is not None:
        raise JournalError("The file is an SQLite database, but no journal of autobatcher.")
    if version < len(MIGRATIONS):
        steps = "".join(MIGRATIONS[version:])
        connection.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {len(MIGRATIONS)}; COMMIT;")


def check_version(version: int) -> None:
    """Refuse a file of a newer autobatcher. Raises `JournalError`."""
    if version > len(MIGRATIONS):
        raise JournalError(
            f"The journal has schema version {version}; this autobatcher supports up to {len(MIGRATIONS)}: update it."
        )
