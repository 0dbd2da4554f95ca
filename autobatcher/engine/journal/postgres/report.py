"""What there is to say of a journal on PostgreSQL: whether engines can use it, who does, and how large it is."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from typing import Any, LiteralString

import psycopg

from ....errors import JournalError
from ..health import Report, Session, TableSize
from .connection import connect
from .errors import told
from .pooler import refuse_transaction_pooling
from .schema import MIGRATIONS, TABLES, migrate, version_of
from .store import PostgresStore
from .url import schema_of, shown


def report_on(url: str) -> Report:
    """Look at a journal. Changes nothing.

    Raises:
        JournalError: if the database cannot be reached, or it is not a journal.
    """
    schema = schema_of(url)
    with told(shown(url)), connect(url) as connection:
        may_look = _may_look(connection, schema)
        version = version_of(connection, schema, shown(url)) if may_look else None
        missing = list(_missing(connection, schema, version))
        return Report(
            journal=shown(url),
            server=str(_value(connection, "SELECT current_setting('server_version')")),
            role=str(_value(connection, "SELECT current_user")),
            schema=schema,
            version=version,
            newest=len(MIGRATIONS),
            missing=missing,
            fault=_fault_of_pooler(connection, url),
            sessions=_sessions(url) if version == len(MIGRATIONS) and not missing else [],
            tables=[TableSize(*row) for row in connection.execute(_SIZES, (schema,)).fetchall()],
        )


def migrate_journal(url: str) -> bool:
    """Make the tables of a journal, or bring older ones up to date. Returns whether anything was to be done.

    Raises:
        JournalError: if it is of a newer autobatcher or no journal, or this role may not do it.
    """
    with told(shown(url)), connect(url) as connection:
        return migrate(connection, schema_of(url), shown(url))


def _may_look(connection: psycopg.Connection, schema: str) -> bool:
    """Whether this role may read the version of the tables, if there are any."""
    return bool(_value(connection, _MAY_LOOK, schema, schema))


def _missing(connection: psycopg.Connection, schema: str, version: int | None) -> Iterator[str]:
    """What this role lacks to use the tables; or to make them, if that is still to be done."""
    if not _value(connection, "SELECT to_regnamespace(%s) IS NOT NULL", schema):
        if not _value(connection, "SELECT has_database_privilege(current_database(), 'CREATE')"):
            yield f"CREATE ON DATABASE {_value(connection, 'SELECT quote_ident(current_database())')}"
        return
    if not _value(connection, "SELECT has_schema_privilege(%s, 'USAGE')", schema):
        yield f"USAGE ON SCHEMA {schema}"
    if version is not None and version < len(MIGRATIONS):
        if not _value(connection, "SELECT has_schema_privilege(%s, 'CREATE')", schema):
            yield f"CREATE ON SCHEMA {schema}"
        return
    for table, right in connection.execute(_MISSING, (list(TABLES), schema)).fetchall():
        yield f"{right} ON {schema}.{table}"


def _fault_of_pooler(connection: psycopg.Connection, url: str) -> str | None:
    """What is wrong if a pooler between cannot hold a session's lock."""
    lock = (_TRIALS, secrets.randbelow(2**31))
    connection.execute("SELECT pg_advisory_lock(%s, %s)", lock)
    try:
        refuse_transaction_pooling(connection, url, lock)
    except JournalError as error:
        return error.message
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s, %s)", lock)
    return None


def _sessions(url: str) -> list[Session]:
    with closing(PostgresStore(url, is_read_only=True)) as store:
        return store.sessions()


def _value(connection: psycopg.Connection, statement: LiteralString, *parameters: object) -> Any:
    row = connection.execute(statement, parameters).fetchone()
    assert row is not None
    return row[0]


_TRIALS = 0x61627464
"""The first key of locks that are taken to see what becomes of them."""

_MAY_LOOK = """SELECT to_regnamespace(%s) IS NULL OR coalesce((
    SELECT has_schema_privilege(n.oid, 'USAGE') AND (c.oid IS NULL OR has_table_privilege(c.oid, 'SELECT'))
    FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'schema_version'
    WHERE n.nspname = %s), true)"""

_MISSING = """SELECT c.relname, r.name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) WITH ORDINALITY r(name, number)
    WHERE (c.relname = ANY(%s) OR c.relname IN ('schema_version', 'living_sessions') AND r.name = 'SELECT')
    AND n.nspname = %s AND NOT has_table_privilege(c.oid, r.name) ORDER BY c.relname, r.number"""

_SIZES = """SELECT relname, n_live_tup, pg_total_relation_size(relid) FROM pg_stat_user_tables
    WHERE schemaname = %s ORDER BY pg_total_relation_size(relid) DESC, relname"""
