"""The flags of commands on a journal, and the journal opened for them: to be read, whoever owns it, or owned."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..engine.journal import BatchRecord
from ..engine.journal.ownership import Ownership
from ..engine.journal.store import Store
from ..errors import JournalError
from .flags import COMMAND_LINE_ONLY, Switch, UsageError

AsJson = Annotated[Switch, Parameter(name="--json")]
BatchNames = Annotated[str, COMMAND_LINE_ONLY]
All = Annotated[Switch, COMMAND_LINE_ONLY, Parameter(name="--all")]


@contextmanager
def journal_for_reading(path: Path) -> Iterator[Store]:
    """The journal, whoever owns it. Raises `UsageError` for a file that is none, now or while the block reads it."""
    with told_as_usage_error(path), closing(Store(path, is_read_only=True)) as store:
        yield store


@contextmanager
def journal_of_our_own(path: Path) -> Iterator[Store]:
    """The journal, with no engine on it meanwhile. Raises `UsageError`, too, if there is one."""
    read_batches(path)  # what is no journal must not be made one
    with told_as_usage_error(path):
        ownership = Ownership(path)
        try:
            with closing(Store(path)) as store:
                yield store
        finally:
            ownership.release()


@contextmanager
def told_as_usage_error(path: Path) -> Iterator[None]:
    """A journal that cannot be used, or not now, is an error of usage. (What fails at the output is none.)"""
    try:
        yield
    except JournalError as error:
        raise UsageError(f"--journal {path}: {error.message}") from error
    except sqlite3.Error as error:
        raise UsageError(f"--journal {path} cannot be used: {error}.") from error


def read_batches(path: Path) -> list[BatchRecord]:
    """What the journal has, the oldest first. Raises `UsageError`."""
    with journal_for_reading(path) as store:
        return store.batches()


def is_called(record: BatchRecord, name: str) -> bool:
    """Whether `name` is the batch's id or its idempotency key."""
    return name in (record.batch_id, record.idempotency_key)


def chosen(records: Iterable[BatchRecord], names: Iterable[str], path: Path) -> list[BatchRecord]:
    """The batches of these names, in that order, each once. Raises `UsageError` for a name that none has."""
    known = list(records)
    found: dict[str, BatchRecord] = {}
    for name in names:
        record = next((record for record in known if is_called(record, name)), None)
        if record is None:
            raise UsageError(f"there is no batch {name} in the journal {path}: `autobatcher status` lists them.")
        found[record.idempotency_key] = record
    return list(found.values())


def required(path: Path | None) -> Path:
    """The journal's path. Raises `UsageError` if it was not given."""
    if path is None:
        raise UsageError("--journal is missing: the path of the journal's file (or set AUTOBATCHER_JOURNAL).")
    return path
