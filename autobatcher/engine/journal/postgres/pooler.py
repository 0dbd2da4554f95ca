"""Finds a pooler that gives each transaction another connection (PgBouncer with pool_mode=transaction). A lock of a
session cannot be held over it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import NamedTuple

import psycopg

from ....errors import JournalError
from .connection import connect
from .url import shown

LOOKS = 3
"""How often to look."""

PATIENCE_SECONDS = 3.0
"""How long to wait for a second connection. A pool in session mode may have no other."""


class Glimpse(NamedTuple):
    """What a transaction saw.

    Attributes:
        process: of the server, that runs it.
        has_lock: whether that one holds the lock of the session.
    """

    process: int
    has_lock: bool


def is_pooled_by_transaction(glimpses: Iterable[Glimpse], others: Collection[int]) -> bool:
    """Whether transactions of one connection run in different processes of the server. Pure.

    Args:
        glimpses: of transactions over one connection.
        others: the processes of a second connection, while the first one was open.
    """
    seen = list(glimpses)
    processes = {glimpse.process for glimpse in seen}
    return len(processes) > 1 or not all(glimpse.has_lock for glimpse in seen) or not processes.isdisjoint(others)


def refuse_transaction_pooling(connection: psycopg.Connection, url: str, lock: tuple[int, int]) -> None:
    """Look whether the connection is pooled by transaction.

    Args:
        lock: both keys of an advisory lock that the connection holds.

    Raises:
        JournalError: if it is.
        psycopg.Error: if the server fails.
    """
    seen, others = [], []
    for _ in range(LOOKS):
        seen.append(_glimpse(connection, lock))
        if seen[-1].process != connection.info.backend_pid:  # as a pooler says
            others += _process_of_another(url)
            seen.append(_glimpse(connection, lock))
    if is_pooled_by_transaction(seen, others):
        raise JournalError(
            f"The journal {shown(url)} is behind a pooler in transaction mode (such as PgBouncer), which cannot hold "
            "locks: connect to the server itself, or to a pool in session mode."
        )


def _glimpse(connection: psycopg.Connection, lock: tuple[int, int]) -> Glimpse:
    row = connection.execute(_LOOK, lock).fetchone()
    assert row is not None
    return Glimpse(*row)


def _process_of_another(url: str) -> list[int]:
    """The server's process of a second connection. None if there is none left."""
    with suppress(psycopg.OperationalError), connect(url) as second:
        cut = threading.Timer(PATIENCE_SECONDS, _cut, (second.pgconn.socket,))
        cut.start()
        try:
            row = second.execute("SELECT pg_backend_pid()").fetchone()
            return [] if row is None else [row[0]]
        finally:
            cut.cancel()
    return []


def _cut(number: int) -> None:
    """Let whoever reads from that socket fail."""
    with suppress(OSError), socket.socket(fileno=os.dup(number)) as same:
        same.shutdown(socket.SHUT_RDWR)


_LOOK = """SELECT pg_backend_pid(), EXISTS (
    SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted
    AND classid::bigint = (%s::bigint & 4294967295) AND objid::bigint = %s AND pid = pg_backend_pid())"""
