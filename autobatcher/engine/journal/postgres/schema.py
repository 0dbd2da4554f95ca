"""The journal's tables on PostgreSQL, and the migration of older schemas."""

from __future__ import annotations

import psycopg
from psycopg import sql

from ....errors import JournalError

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE sessions (
        number int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        process text NOT NULL,
        host text NOT NULL,
        pid int NOT NULL,
        url text NOT NULL DEFAULT '',  -- of its status page
        opened_at double precision NOT NULL,
        ending text NOT NULL DEFAULT '',  -- 'well' or 'failed', if it was closed; 'exited', if its process ended well
        keeper int,  -- of one that was closed well: the session that lives as long as its process; of that one, itself
        commits bigint NOT NULL DEFAULT 0,  -- the number of its last transaction
        missed_at double precision  -- when somebody found that it is gone
    );
    -- The sessions whose processes live: each holds a lock with its number, in its connection to the database.
    CREATE VIEW living_sessions AS
        SELECT objid::bigint::int AS number FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND mode = 'ExclusiveLock'
        AND classid = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
    CREATE TABLE batches (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        idempotency_key text NOT NULL UNIQUE,
        owner int,  -- the session whose engine runs it
        account bytea NOT NULL,
        base_url text NOT NULL,
        provider text NOT NULL,
        endpoint text NOT NULL,
        completion_window text NOT NULL,
        models text NOT NULL,  -- JSON with what jsonb cannot hold, such as the character 0
        metadata text NOT NULL,
        request_count bigint NOT NULL,
        stage text NOT NULL,
        file_id text,
        batch_id text,
        status text NOT NULL DEFAULT '',
        completed bigint NOT NULL DEFAULT 0,
        failed bigint NOT NULL DEFAULT 0,
        created_at double precision NOT NULL,
        changed_at double precision NOT NULL
    );
    CREATE INDEX batches_by_owner ON batches (owner) WHERE stage <> 'ended';
    CREATE INDEX batches_by_change ON batches (changed_at);
    -- A line's id is its batch's number times LINES_OF_A_BATCH, plus its own.
    CREATE TABLE lines (
        id bigint PRIMARY KEY,
        digest bytea NOT NULL,
        endpoint text NOT NULL,
        body bytea,
        waiter int  -- the session that waits for it, or was given its answer
    );
    CREATE INDEX lines_by_digest ON lines (digest);
    CREATE INDEX lines_by_waiter ON lines (waiter) WHERE waiter IS NOT NULL;
    CREATE TABLE answers (
        id bigint PRIMARY KEY,
        status_code int NOT NULL,
        request_id text,
        answered_at double precision NOT NULL,
        body bytea
    );
    CREATE INDEX answers_by_time ON answers (answered_at);
    -- The keys by which callers say that two requests are one.
    CREATE TABLE keys (
        key bytea PRIMARY KEY,  -- a digest of the caller and the key
        digest bytea NOT NULL,  -- of the request
        session int NOT NULL,  -- whose request it is
        line_id bigint,  -- NULL until it is in a batch
        used_at double precision NOT NULL
    );
    CREATE INDEX keys_by_line ON keys (line_id) WHERE line_id IS NOT NULL;
    CREATE INDEX keys_by_session ON keys (session) WHERE line_id IS NULL;
    CREATE INDEX keys_by_time ON keys (used_at);
    CREATE TABLE durations (id int PRIMARY KEY CHECK (id = 1), content bytea NOT NULL);
    CREATE TABLE calibration (id int PRIMARY KEY CHECK (id = 1), content bytea NOT NULL);
    -- Each session has rows of its own, so that none waits for another one's commit.
    CREATE TABLE charges (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        alike bytea NOT NULL UNIQUE,  -- a digest of session, idempotency_key, hour, batch_id and sort
        session int NOT NULL,
        idempotency_key text NOT NULL,
        hour int NOT NULL,
        budget text NOT NULL,
        batch_id text NOT NULL,
        metadata text NOT NULL,
        account bytea NOT NULL,
        provider text NOT NULL,
        base_url text NOT NULL,
        model text NOT NULL,
        endpoint text NOT NULL,
        lane text NOT NULL,
        completion_window text NOT NULL,
        fate text NOT NULL,
        bracket bigint NOT NULL,
        requests bigint NOT NULL,
        untold bigint NOT NULL,
        input bigint NOT NULL,
        cached bigint NOT NULL,
        output bigint NOT NULL,
        reasoning bigint NOT NULL,
        cache_write bigint NOT NULL
    );
    CREATE INDEX charges_by_hour ON charges (hour);
    -- What batches and calls that are not over may cost, in USD.
    CREATE TABLE reservations (
        idempotency_key text PRIMARY KEY,
        session int NOT NULL,
        budget text NOT NULL,
        amount numeric NOT NULL
    );
    -- Who counts against a limit that all engines share locks the one row first.
    CREATE TABLE turns (id int PRIMARY KEY CHECK (id = 1));
    INSERT INTO turns VALUES (1);
    -- When batches were created in the last hour, or may be, where a provider limits how many.
    CREATE TABLE creations (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        place text NOT NULL,  -- an account, or a base URL
        moment double precision NOT NULL
    );
    CREATE INDEX creations_by_place ON creations (place, moment);
    """,
    """
    -- Lines that failed in a batch of one session, and that another one waits for.
    CREATE TABLE failures (
        idempotency_key text NOT NULL,
        number bigint NOT NULL,
        waiter int NOT NULL,
        failed_at double precision NOT NULL,
        ending text NOT NULL,  -- JSON: how the batch ended for them
        PRIMARY KEY (idempotency_key, number)
    );
    CREATE INDEX failures_by_time ON failures (failed_at);
    """,
    """
    -- Responses that clients of the proxies ask for later, by id.
    CREATE TABLE responses (
        id text PRIMARY KEY,
        owner bytea NOT NULL,
        digest bytea NOT NULL,
        status text NOT NULL,
        created_at double precision NOT NULL,
        changed_at double precision NOT NULL,
        session int NOT NULL,  -- whose engine makes it; 0 for none
        deadline double precision,
        headers text NOT NULL,  -- their names
        upstream_id text,
        response bytea NOT NULL,
        body bytea  -- what is asked, until it has ended
    );
    CREATE INDEX open_responses ON responses (created_at) WHERE status IN ('queued', 'in_progress');
    CREATE INDEX responses_by_change ON responses (changed_at);
    """,
)
"""The statements from each schema version to the next. Never change a released one; add another."""

_COMPRESSION = """
    DO $$ BEGIN
        ALTER TABLE lines ALTER COLUMN body SET COMPRESSION lz4;
        ALTER TABLE answers ALTER COLUMN body SET COMPRESSION lz4;
        ALTER TABLE responses ALTER COLUMN body SET COMPRESSION lz4;
        ALTER TABLE responses ALTER COLUMN response SET COMPRESSION lz4;
    EXCEPTION WHEN feature_not_supported OR invalid_parameter_value OR syntax_error THEN NULL; END $$;
"""
"""lz4 takes a tenth of the time of PostgreSQL's own, and is not in every server."""

LINES_OF_A_BATCH = 2**32
"""Larger than any provider's limit for one batch."""

TABLES = (
    *("sessions", "batches", "lines", "answers", "keys", "durations", "calibration", "charges", "reservations"),
    *("turns", "creations", "failures", "responses"),
)

_VERSION_TABLE = "CREATE TABLE schema_version (version int NOT NULL)"

_LOCK = 0x61627463
"""With which those who migrate wait for one another."""

LEAST_SERVER = 140_000
"""PostgreSQL 14: older ones do not end the sessions of stopped processes."""


def migrate(connection: psycopg.Connection, schema: str, shown: str) -> bool:
    """Create the journal's schema, or bring an older one up to date, in one transaction.

    Args:
        shown: the URL without its password, for messages.

    Returns:
        Whether anything was done.

    Raises:
        JournalError: if it is of a newer version, or no journal.
        psycopg.Error: if the server refuses.
    """
    _check_server(connection, shown)
    if version_of(connection, schema, shown) == len(MIGRATIONS):
        return False  # without a privilege to create
    with connection.transaction():
        connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCK, schema))
        version = version_of(connection, schema, shown)
        _check_version(version, shown)
        if version == len(MIGRATIONS):
            return False
        _run_migrations(connection, schema, version)
        return True


def _run_migrations(connection: psycopg.Connection, schema: str, version: int) -> None:
    name = sql.Identifier(schema)
    if connection.execute("SELECT to_regnamespace(quote_ident(%s))::text", (schema,)).fetchone() == (None,):
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
    connection.execute(sql.SQL("SET LOCAL search_path = {}").format(name))
    if version == 0:
        connection.execute(_VERSION_TABLE)
        connection.execute("INSERT INTO schema_version VALUES (0)")
    for statements in MIGRATIONS[version:]:
        connection.execute(statements.encode())
    connection.execute(_COMPRESSION)
    connection.execute("UPDATE schema_version SET version = %s", (len(MIGRATIONS),))


def check_schema(connection: psycopg.Connection, schema: str, shown: str) -> None:
    """Check that the schema is there and of our version. Raises `JournalError`."""
    _check_server(connection, shown)
    version = version_of(connection, schema, shown)
    _check_version(version, shown)
    if version < len(MIGRATIONS):
        state = f"has schema version {version}, and this autobatcher needs {len(MIGRATIONS)}"
        what = "has no tables yet" if version == 0 else state
        raise JournalError(f"The journal {shown} {what}: run `autobatcher journal migrate` with its URL.")


def version_of(connection: psycopg.Connection, schema: str, shown: str) -> int:
    """The version of the journal in the schema; 0 if it is empty, or not there.

    Raises:
        JournalError: if there are other tables in it.
    """
    found = {
        name
        for (name,) in connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident(%s)) AND relkind IN "
            "('r', 'p', 'v', 'm', 'f')",
            (schema,),
        )
    }
    if not found:
        return 0
    if "schema_version" not in found:
        raise JournalError(
            f"The schema {schema} of {shown} has tables that are not of a journal. Name another with ?schema=."
        )
    statement = sql.SQL("SELECT version FROM {}.schema_version").format(sql.Identifier(schema))
    row = connection.execute(statement).fetchone()
    return 0 if row is None else int(row[0])


def lock_class(connection: psycopg.Connection, schema: str) -> int:
    """The first key of the locks of sessions: the number of the schema, as PostgreSQL's functions take it."""
    row = connection.execute("SELECT oid::bigint FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone()
    assert row is not None
    number: int = row[0]
    return number if number < 2**31 else number - 2**32


def channel_of(schema: str) -> str:
    """Where it is announced that lines were answered, or that their batches have changed hands."""
    return f"{schema}_answers"


def _check_version(version: int, shown: str) -> None:
    if version > len(MIGRATIONS):
        raise JournalError(
            f"The journal {shown} has schema version {version}; this autobatcher supports up to {len(MIGRATIONS)}: "
            "update it."
        )


def _check_server(connection: psycopg.Connection, shown: str) -> None:
    if connection.info.server_version < LEAST_SERVER:
        major = connection.info.server_version // 10_000
        raise JournalError(f"The journal {shown} is on PostgreSQL {major}: it must be 14 or newer.")
