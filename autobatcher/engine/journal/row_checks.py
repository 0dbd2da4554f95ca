"""What is in a journal's rows: SQLite keeps values of any type and size in any column."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TypeVar

import msgspec

from ...errors import JournalError
from .responses import STATUSES
from .schema import LINES_OF_A_BATCH

T = TypeVar("T")

MAX_TEXT = 1_000_000
"""Longest text in a row, in characters. `Store` writes none that is longer."""

MAX_TEXT_BYTES = 4 * MAX_TEXT

MAX_BODY_BYTES = 200_000_000
"""Largest prompt or answer, which is read into memory: as large as the largest input file of most providers."""

MAX_ROW_BYTES = MAX_BODY_BYTES + 10 * MAX_TEXT

MAX_DURATIONS_BYTES = 10_000_000
"""Many times what `Durations` needs."""

STATUS_CODES = range(100, 600)
"""The status codes of HTTP."""

MAX_BATCHES = 2**30
"""Largest number of a batch; times `LINES_OF_A_BATCH` it is still an integer of SQLite."""

MAX_SECONDS = 1e12
"""No time of ours is further from 1970."""


CHECKED_BYTES = MAX_TEXT_BYTES if sqlite3.sqlite_version_info >= (3, 40) else MAX_ROW_BYTES
"""The largest value that is read while rows are checked: no body is. Older versions limit whole rows by it."""


def _bytes(name: str) -> str:
    """The length of a text in bytes. SQLite's own length of a text is that up to its first NUL."""
    return f"length(CAST({name} AS BLOB))"


def _text(*names: str) -> str:
    return " AND ".join(
        f"typeof({name}) = 'text' AND {_bytes(name)} <= {MAX_TEXT_BYTES} AND length({name}) <= {MAX_TEXT}"
        for name in names
    )


def _text_or_null(*names: str) -> str:
    return " AND ".join(f"({name} IS NULL OR {_text(name)})" for name in names)


def _name(name: str) -> str:
    """Of a batch or a process. It becomes a part of file names and of custom_ids."""
    is_short = f"length({name}) <= 100 AND {_bytes(name)} = length({name})"  # GLOB, too, looks no further than a NUL
    return f"{_text(name)} AND {is_short} AND {name} NOT GLOB '*[^0-9A-Za-z_ -]*'"


def _integer(low: int, high: int, *names: str) -> str:
    return " AND ".join(f"typeof({name}) = 'integer' AND {name} BETWEEN {low} AND {high}" for name in names)


def _time(*names: str) -> str:
    return " AND ".join(f"typeof({name}) = 'real' AND abs({name}) <= {MAX_SECONDS}" for name in names)


def _body(name: str) -> str:
    """Types and lengths of blobs are read without them. IS NULL may read all of it."""
    return f"(typeof({name}) = 'null' OR typeof({name}) = 'blob' AND length({name}) <= {MAX_BODY_BYTES})"


_AMOUNT = "length(amount) <= 100 AND amount GLOB '[0-9]*' AND amount NOT GLOB '*[^0-9.]*' AND amount NOT GLOB '*.*.*'"


HONEST = {
    "batches": " AND ".join(
        (
            _integer(1, MAX_BATCHES, "number"),
            _name("stamp"),
            "typeof(account) = 'blob' AND length(account) <= 100",
            _text("base_url", "provider", "endpoint", "completion_window", "models", "metadata", "status"),
            _text_or_null("file_id", "batch_id"),
            _integer(0, LINES_OF_A_BATCH, "request_count", "completed", "failed"),
            "stage IN ('calling', 'intended', 'creating', 'created', 'ended')",
            _time("created_at", "changed_at"),
        )
    ),
    "lines": " AND ".join(
        ("id >= 0", "typeof(digest) = 'blob' AND length(digest) <= 100", _text("endpoint"), _body("body"))
    ),
    "answers": " AND ".join(
        (
            "id >= 0",
            _integer(STATUS_CODES[0], STATUS_CODES[-1], "status_code"),
            _text_or_null("request_id"),
            _time("answered_at"),
            "typeof(taken_by) IN ('integer', 'null')",
            _body("body"),
        )
    ),
    "sessions": " AND ".join(
        (
            _integer(1, 2**62, "number"),
            _name("process"),
            _text("host"),
            "typeof(pid) = 'integer'",
            _time("opened_at"),
            "ending IN ('', 'well', 'failed', 'exited')",
        )
    ),
    "charges": " AND ".join(
        (
            _name("stamp"),
            _text("budget", "batch_id", "metadata", "provider", "base_url", "model", "endpoint", "completion_window"),
            "typeof(account) = 'blob' AND length(account) <= 100",
            f"{_text('lane')} AND length(lane) <= 64 AND lane NOT GLOB '*[^0-9a-z_.() -]*'",
            "fate IN ('delivered', 'discarded', 'paid_twice', 'stated', 'unknown')",
            _integer(0, 2**40, "hour", "bracket", "requests", "untold"),
            _integer(0, 2**62, "input", "cached", "output", "reasoning"),
        )
    ),
    "calibration": f"typeof(content) = 'blob' AND length(content) <= {MAX_DURATIONS_BYTES}",
    "reservations": " AND ".join((_name("stamp"), _text("budget", "amount"), _AMOUNT)),
    "responses": " AND ".join(
        (
            _name("id"),
            "typeof(owner) = 'blob' AND length(owner) <= 100 AND typeof(digest) = 'blob' AND length(digest) <= 100",
            f"status IN {STATUSES}",
            _time("created_at", "changed_at"),
            _integer(0, 2**62, "session"),
            f"(deadline IS NULL OR {_time('deadline')})",
            _text("headers"),
            _text_or_null("upstream_id"),
            f"response IS NOT NULL AND {_body('response')}",
            _body("body"),
        )
    ),
    "durations": f"typeof(content) = 'blob' AND length(content) <= {MAX_DURATIONS_BYTES}",
}
"""What each row of a table that autobatcher wrote satisfies."""

ADDED = {("charges", "cache_write"): _integer(0, 2**62, "cache_write")}
"""The same for columns that files of earlier schemas lack."""


TEXTS = (
    "SELECT * FROM batches",
    "SELECT DISTINCT endpoint FROM lines",
    "SELECT request_id FROM answers",
    "SELECT * FROM sessions",
    "SELECT * FROM charges",
    "SELECT * FROM reservations",
    "SELECT id, status, headers, upstream_id FROM responses",
)
"""All texts. They are read once to see that they can be decoded."""


def check_rows(connection: sqlite3.Connection) -> None:
    """Check the pages, and the types and sizes of all rows. Bodies are not read: a second for each gigabyte or two.

    Raises:
        JournalError: if the file is damaged, or autobatcher has not written it.
        sqlite3.Error: if it cannot be read.
    """
    limit = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, CHECKED_BYTES)
    try:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise JournalError(f"The journal is damaged: {verdict}.")
        _check_indexes(connection)
        _check_types_and_sizes(connection)
        _check_texts(connection)
    except sqlite3.DataError as error:
        raise odd_row("a very large value") from error
    finally:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limit)


def _check_indexes(connection: sqlite3.Connection) -> None:
    """Check that what is in a table is in its indexes: that is not part of SQLite's quick check. Lines have none."""
    indexed = connection.execute("SELECT DISTINCT tbl_name FROM sqlite_master WHERE type = 'index'").fetchall()
    for (table,) in indexed:
        (verdict,) = connection.execute(f"PRAGMA integrity_check({table})").fetchone()
        if verdict != "ok":
            raise JournalError(f"The journal is damaged: {verdict}.")


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master").fetchall()}


def _check_types_and_sizes(connection: sqlite3.Connection) -> None:
    tables = _tables(connection)
    for table, is_honest in HONEST.items():
        if table not in tables:  # of a later schema than that of this file
            continue
        columns = {name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})").fetchall()}
        added = (added for (where, name), added in ADDED.items() if where == table and name in columns)
        is_honest = " AND ".join((is_honest, *added))
        statement = f"SELECT rowid FROM {table} WHERE NOT coalesce({is_honest}, 0) LIMIT 1"  # noqa: S608  (constants)
        odd = connection.execute(statement).fetchone()
        if odd is not None:
            raise odd_row(f"row {odd[0]} of {table}")


def _check_texts(connection: sqlite3.Connection) -> None:
    tables = _tables(connection)
    for statement in TEXTS:
        if statement.rpartition(" ")[2] not in tables:
            continue
        with closing(connection.execute(statement)) as rows:  # an open one would keep the file from being closed
            for _ in rows:
                pass
    for models, metadata in connection.execute("SELECT models, metadata FROM batches").fetchall():
        decoded_models(models), decoded_metadata(metadata)
    if "charges" in tables:
        for (metadata,) in connection.execute("SELECT DISTINCT metadata FROM charges").fetchall():
            decoded_metadata(metadata)


def decoded_models(text: str) -> list[str]:
    """The names of models in a row. Raises `JournalError`."""
    return _decoded(text, list[str])


def decoded_metadata(text: str) -> dict[str, str]:
    """The metadata in a row. Raises `JournalError`."""
    return _decoded(text, dict[str, str])


def _decoded(text: str, kind: type[T]) -> T:
    try:
        return msgspec.convert(json.loads(text), kind)  # not by msgspec: names may have halves of surrogate pairs
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise odd_row("the JSON of a batch") from error


def odd_row(what: str) -> JournalError:
    """The error for a row that autobatcher did not write."""
    return JournalError(f"The journal was not written by autobatcher alone: {what} is odd. Do not use it.")
