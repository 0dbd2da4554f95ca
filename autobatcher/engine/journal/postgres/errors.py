"""What can fail on PostgreSQL, and whose fault it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from ....errors import JournalError, JournalUnreachableError
from ..failures import CollisionError, NotOurBatchError

__all__ = ["is_server_failure", "told"]


_OF_DATABASES = (
    *(errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName, errors.InsufficientPrivilege),
    errors.ReadOnlySqlTransaction,
)
"""Errors that psycopg counts as those of a statement, and that are of the database: all others fail likewise."""

_OF_MOMENTS = (errors.DeadlockDetected, errors.SerializationFailure)
"""The same statements may succeed when they are run again, at once."""


def is_server_failure(error: BaseException) -> bool:
    """Whether the server or the connection is at fault, and not one statement: a full disk, a restart, a lost network,
    missing privileges or tables."""
    if isinstance(error, (NotOurBatchError, *_OF_MOMENTS)):
        return False
    return isinstance(error, (JournalError, psycopg.OperationalError, psycopg.InterfaceError, *_OF_DATABASES))


@contextmanager
def told(shown: str) -> Iterator[None]:
    """Turn failures of the server, of the connection, and collisions, into `JournalError`.

    Args:
        shown: the URL without its password.
    """
    try:
        yield
    except psycopg.Error as error:
        if isinstance(error, _OF_MOMENTS):
            raise CollisionError(f"The journal {shown} was in use: {_reason(error)}") from error
        if not is_server_failure(error):
            raise
        raise JournalUnreachableError(f"The journal {shown} cannot be used: {_reason(error)}") from error


def _reason(error: psycopg.Error) -> str:
    return " ".join(str(error).split()) or type(error).__name__
