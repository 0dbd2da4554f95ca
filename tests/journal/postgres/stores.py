"""Stores on a real server for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any, TypeVar

import msgspec

from autobatcher.engine.digest import digest_of
from autobatcher.engine.journal.postgres.connection import connect
from autobatcher.engine.journal.postgres.schema import migrate
from autobatcher.engine.journal.postgres.store import PostgresStore
from autobatcher.engine.journal.postgres.url import schema_of, shown
from autobatcher.engine.journal.records import BatchRecord
from autobatcher.engine.journal.rows import NewAnswer
from tests.journal.records import a_record

T = TypeVar("T")

ENDPOINT = "/v1/embeddings"


class Stores:
    """Sessions that share one journal."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._stack = ExitStack()
        with connect(url) as connection:
            migrate(connection, schema_of(url), shown(url))

    def open(self, url: str | None = None, *, idle_seconds: float | None = 10.0) -> PostgresStore:
        """A session of an engine."""
        store = self._stack.enter_context(closing(PostgresStore(url or self.url, idle_seconds=idle_seconds)))
        with store.transaction():
            store.begin_session("process", now=0.0)
        return store

    def close(self) -> None:
        self._stack.close()


def stores_on(url: str) -> Iterator[Stores]:
    """For fixtures."""
    stores = Stores(url)
    yield stores
    stores.close()


def do(store: PostgresStore, statement: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """One statement in a transaction of its own."""
    with store.transaction():
        return statement(store, *arguments, **options)


def write_batch(
    store: PostgresStore,
    key: str,
    bodies: list[bytes],
    *,
    stage: str = "created",
    is_hash_only: bool = False,
    **fields: Any,
) -> BatchRecord:
    """A batch with one line for each body."""
    record = msgspec.structs.replace(a_record(key), request_count=len(bodies), **fields)
    lines = [(number, ENDPOINT, body) for number, body in enumerate(bodies)]
    with store.transaction():
        store.intend(record, lines, is_hash_only=is_hash_only)
        if stage != "intended":
            store.update(key, now=1.0, stage=stage, batch_id=f"batch_{key}")
    return record


def digest(body: bytes) -> bytes:
    return digest_of(ENDPOINT, body, b"x")


def an_answer(key: str, number: int, body: bytes | None = b"{}", *, is_taken: bool = True) -> NewAnswer:
    return key, number, 200, body, f"req_{number}", is_taken


def cut(store: PostgresStore) -> None:
    """Cut the connection of a store, which does not know it yet. Its lock is gone afterwards."""
    with connect(store._url) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", (store._db.info.backend_pid,))


def close(store: PostgresStore) -> None:
    """Close a store as if its process had died, and wait until the server knows."""
    process = store._db.info.backend_pid
    store.close()
    with connect(store._url) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000) FROM pg_stat_activity WHERE pid = %s", [process] * 2)
