"""A connection to the journal's database: how it is opened, its transactions, and what happens when it is lost.

Synchronous; for one thread.

A transaction is sent in pipeline mode: statements that return nothing do not wait for the server, so that thousands of
small ones cost no round trip each.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, LiteralString

import psycopg
from psycopg import conninfo

from ....errors import JournalError
from ..failures import UnheardCommitError
from .errors import told
from .schema import check_schema, lock_class
from .url import libpq_url, schema_of, shown

logger: logging.Logger = logging.getLogger("autobatcher")

IDLE_SECONDS = 10.0
"""After how long without a word the server ends a connection, and with it the session: the process is stopped, or its
machine is."""

HEARTBEAT_SECONDS = 2.0
"""After how long without a statement `heartbeat` is to be called."""

STATEMENT_SECONDS = 60.0
"""The longest that a statement may take."""

LOCK_SECONDS = 10.0
"""The longest that a statement waits for a row that somebody else changes."""

RESOLVE_SECONDS = 60.0
"""How long to try to learn what became of a commit whose connection was lost: a server restarts in this time, and its
statements cannot be repeated before that."""

_CLIENT_DEFAULTS: dict[str, str | int] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "autobatcher",
}
"""What the URL does not say. A lost network is noticed in about ten seconds."""

Parameters = Sequence[Any]


class PostgresConnection:
    """One connection. Outside of `transaction`, each statement is committed by itself.

    Args:
        url: of the database; see `journal_url`. Its schema must be there and of our version.
        is_read_only: whether to refuse changes.
        idle_seconds: how long the server waits for a word; None for ever.

    Raises:
        JournalError: if the database cannot be reached, or its schema is not that of a journal.
    """

    def __init__(self, url: str, *, is_read_only: bool = False, idle_seconds: float | None = IDLE_SECONDS) -> None:
        self._url = url
        self._schema = schema_of(url)
        self._shown = shown(url)
        self._is_read_only = is_read_only
        self._idle_seconds = idle_seconds
        self._is_in_transaction = False
        self._has_written = False  # in the current transaction
        self._db = self._connected()

    @property
    def is_connected(self) -> bool:
        """Whether the connection was there when it was last used."""
        return not self._db.closed

    def close(self) -> None:
        """Close the connection. The session ends with it."""
        self._db.close()

    def heartbeat(self) -> None:
        """Say a word, so that the server keeps the session. Connects again if the connection was lost.

        Raises:
            JournalError: if that is not possible now.
        """
        with told(self._shown):
            self._ensure_connected()
            try:
                self._db.execute("SELECT 1")
            except psycopg.OperationalError:
                self._reconnect()

    # ---- statements ----

    def _do(self, statement: LiteralString, parameters: Parameters = ()) -> None:
        """Run a statement. In a transaction its failure may come with a later one."""
        self._has_written = True
        with told(self._shown):
            self._ensure_connected()
            self._db.execute(statement, parameters)

    def _rows(self, statement: LiteralString, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        self._has_written = self._has_written or not statement.startswith("SELECT")
        with told(self._shown):
            self._ensure_connected()
            return self._db.execute(statement, parameters).fetchall()

    def _row(self, statement: LiteralString, parameters: Parameters = ()) -> tuple[Any, ...] | None:
        """Run a statement and return its first row, if it has one."""
        rows = self._rows(statement, parameters)
        return rows[0] if rows else None

    # ---- transactions ----

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in a transaction: all or nothing, and on disk when the block ends.

        If the connection is lost during the commit, what became of it is asked over a new one.

        Raises:
            JournalError: if the server is at fault. Nothing was done then.
            UnheardCommitError: if it cannot be asked, either.
        """
        with told(self._shown):
            self._begin()
        is_ending = False
        self._is_in_transaction = True
        try:
            with self._db.pipeline() as self._pipeline:
                yield
                if self._has_written:
                    self._note_commit()
                is_ending = True
                ended = self._db.execute("COMMIT")
                self._pipeline.sync()
            if ended.statusmessage != "COMMIT":
                raise JournalError(f"The journal {self._shown} cannot be used: a commit undid what was before it.")
        except psycopg.Error:
            self._is_in_transaction = False
            if is_ending and self._db.closed and self._has_written and self._heard_of_commit():
                return
            self._undo()
            with told(self._shown):
                raise
        except BaseException:
            self._undo()
            raise
        finally:
            self._is_in_transaction = False

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Run the block in a transaction that sees nothing of what others commit meanwhile."""
        with self.transaction():
            self._do("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield

    def _begin(self) -> None:
        self._has_written = False
        self._ensure_connected()
        try:
            self._db.execute("BEGIN")
        except psycopg.OperationalError:  # it was lost while nobody looked
            self._reconnect()
            self._db.execute("BEGIN")

    def _undo(self) -> None:
        self._on_rollback()
        self._roll_back()

    def _roll_back(self) -> None:
        try:
            self._db.execute("ROLLBACK")
        except psycopg.Error:
            self._db.close()

    def _heard_of_commit(self) -> bool:
        """Whether the commit happened whose connection was lost."""
        deadline = time.monotonic() + RESOLVE_SECONDS
        while True:
            try:
                return self.was_committed()
            except JournalError as error:
                if time.monotonic() > deadline:
                    raise UnheardCommitError(error.message) from error
                time.sleep(0.1)

    def was_committed(self) -> bool:
        """Whether the last transaction was committed, if an `UnheardCommitError` ended it.

        Raises:
            JournalError: if it cannot be asked now.
        """
        return False  # nobody noted it

    def _note_commit(self) -> None:
        """Called before the commit of a transaction that changes something."""

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Run the block in a savepoint of the current transaction. An exception undoes only the block."""
        self._do("SAVEPOINT one")
        try:
            yield
            self._sync()
        except BaseException:
            self._on_rollback()
            if not self._db.closed:
                self._undo_block()
            raise
        self._do("RELEASE one")

    def _undo_block(self) -> None:
        with suppress(psycopg.Error, JournalError):
            self._sync()  # ends the failed part of the pipeline
        self._do("ROLLBACK TO one")
        self._do("RELEASE one")
        self._sync()

    def _sync(self) -> None:
        """Wait for all statements that were sent in this transaction."""
        with told(self._shown):
            self._pipeline.sync()

    def _on_rollback(self) -> None:
        """Called when a transaction or savepoint is rolled back."""

    # ---- the connection ----

    def _ensure_connected(self) -> None:
        if self._db.closed and not self._is_in_transaction:
            self._reconnect()

    def _reconnect(self) -> None:
        self._db.close()
        self._db = self._connected()
        try:
            self._on_reconnected()
        except BaseException:
            self._db.close()
            raise
        logger.info("autobatcher: the connection to the journal %s is back", self._shown)

    def _on_reconnected(self) -> None:
        """Called when a lost connection was replaced, before anything else is sent over it."""

    def _connected(self) -> psycopg.Connection:
        with told(self._shown):
            connection = connect(self._url)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    def _prepare(self, connection: psycopg.Connection) -> None:
        set_up(connection, self._schema, idle_seconds=self._idle_seconds, is_read_only=self._is_read_only)
        check_schema(connection, self._schema, self._shown)
        self._lock_class = lock_class(connection, self._schema)


def connect(url: str) -> psycopg.Connection:
    """Connect to the database of a journal. Raises `psycopg.Error`."""
    try:
        given = conninfo.conninfo_to_dict(libpq_url(url))
        return psycopg.connect(**{**_CLIENT_DEFAULTS, **given}, autocommit=True)  # type: ignore[arg-type]  # any of libpq's
    except psycopg.ProgrammingError as error:  # a parameter that libpq does not know, or a value that it does not take
        raise psycopg.OperationalError(str(error)) from None
    except psycopg.Error as error:
        traceback.clear_frames(error.__traceback__)  # they hold the socket of a connection that did not come about
        raise


def set_up(
    connection: psycopg.Connection, schema: str, *, idle_seconds: float | None, is_read_only: bool = False
) -> None:
    """Make the settings of a connection. Not as parameters of the connection: poolers refuse those."""
    settings = {
        "search_path": schema,
        "idle_session_timeout": _milliseconds(idle_seconds),
        "idle_in_transaction_session_timeout": _milliseconds(idle_seconds),
        "statement_timeout": _milliseconds(STATEMENT_SECONDS),
        "lock_timeout": _milliseconds(LOCK_SECONDS),
        "tcp_keepalives_idle": "5",
        "tcp_keepalives_interval": "2",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "10000",
        "synchronous_commit": "on",
        "default_transaction_isolation": "read committed",
        "default_transaction_read_only": "on" if is_read_only else "off",
        "client_encoding": "UTF8",
    }
    connection.execute(
        "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS given(name, value)",
        (list(settings), list(settings.values())),
    )


def _milliseconds(seconds: float | None) -> str:
    return str(round((seconds or 0) * 1000))
