"""The flags of commands on a journal, and the journal opened for them: to read it, or to change it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..engine.journal import BatchRecord
from ..engine.journal.file import JournalEditor, JournalReader, edit_journal, read_journal
from ..errors import JournalError
from .flags import COMMAND_LINE_ONLY, Switch, UsageError

AsJson = Annotated[Switch, Parameter(name="--json")]
BatchNames = Annotated[str, COMMAND_LINE_ONLY]
All = Annotated[Switch, COMMAND_LINE_ONLY, Parameter(name="--all")]


@contextmanager
def journal_to_read(path: Path) -> Iterator[JournalReader]:
    """The journal, also if an engine uses it. Raises `UsageError` for a file that is none."""
    with told_as_usage_error(path), read_journal(path) as journal:
        yield journal


@contextmanager
def journal_to_edit(path: Path) -> Iterator[JournalEditor]:
    """The journal, with no engine on it meanwhile. Raises `UsageError`, too, if there is one."""
    with told_as_usage_error(path), edit_journal(path) as journal:
        yield journal


@contextmanager
def told_as_usage_error(path: Path) -> Iterator[None]:
    """A journal that cannot be used, or not now, is an error of usage. (What fails at the output is none.)"""
    try:
        yield
    except JournalError as error:
        raise UsageError(f"--journal {path}: {error.message}") from error


def read_batches(path: Path) -> list[BatchRecord]:
    """What the journal has, the oldest first. Raises `UsageError`."""
    with journal_to_read(path) as journal:
        return journal.batches()


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
