"""The flags of commands on a journal, and how they open it: to read or to edit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import Parameter

from ..engine.journal import BatchRecord, file
from ..engine.journal.file import JournalEditor, JournalReader, edit_journal, read_journal
from ..engine.journal_url import JournalUrl, Place
from ..errors import JournalError
from .engines import Engines, engines_of
from .flags import COMMAND_LINE_ONLY, Switch, UsageError
from .output import print_notice

AsJson = Annotated[Switch, Parameter(name="--json")]
Wide = Annotated[Switch, Parameter(name="--wide")]
AllUpstream = Annotated[Switch, COMMAND_LINE_ONLY, Parameter(name="--all-upstream")]
BatchNames = Annotated[str, COMMAND_LINE_ONLY]
All = Annotated[Switch, COMMAND_LINE_ONLY, Parameter(name="--all")]


@contextmanager
def journal_to_read(path: Place) -> Iterator[JournalReader]:
    """Open the journal to read, even while an engine uses it. Raises `UsageError` if the file is not a journal.

    Prints a line if something is missing in the file.
    """
    with told_as_usage_error(path), read_journal(path) as journal:
        if journal.warning is not None:
            print_notice(f"autobatcher: warning: {journal.warning}")
        yield journal


@contextmanager
def journal_to_edit(path: Place) -> Iterator[JournalEditor]:
    """Open the journal to edit. Raises `UsageError` if an engine uses it, or if the file is not a journal."""
    with told_as_usage_error(path), edit_journal(path) as journal:
        yield journal


@contextmanager
def told_as_usage_error(path: Place) -> Iterator[None]:
    """Turn `JournalError` into `UsageError`."""
    try:
        yield
    except JournalError as error:
        where = "" if isinstance(path, JournalUrl) else f" {path}"  # a URL is named in the message
        raise UsageError(f"--journal{where}: {error.message}") from error


def is_there(path: Place) -> bool:
    """Whether there is a journal. Raises `UsageError` if that cannot be found out."""
    with told_as_usage_error(path):
        return file.is_there(path)


def read_batches(path: Place) -> list[BatchRecord]:
    """The batches in the journal, oldest first. Raises `UsageError`. Prints a line if something is missing in it."""
    with journal_to_read(path) as journal:
        return journal.batches()


def read_batches_and_engines(path: Place) -> tuple[list[BatchRecord], Engines | None]:
    """The batches in the journal, and the engines that share it; None if only one can. Otherwise as `read_batches`."""
    with journal_to_read(path) as journal:
        return journal.batches(), engines_of(journal)


def read_again(path: Place) -> tuple[list[BatchRecord], Engines | None]:
    """Like `read_batches_and_engines`, for what needs no second line: others have printed it."""
    with told_as_usage_error(path), read_journal(path) as journal:
        return journal.batches(), engines_of(journal)


def read_batches_again(path: Place) -> list[BatchRecord]:
    """Like `read_batches`, for what needs no second line: others have printed it, or will."""
    with told_as_usage_error(path), read_journal(path) as journal:
        return journal.batches()


def is_called(record: BatchRecord, name: str) -> bool:
    """Whether `name` is the batch's id or its idempotency key."""
    return name in (record.batch_id, record.idempotency_key)


def chosen(records: Iterable[BatchRecord], names: Iterable[str], path: Place) -> list[BatchRecord]:
    """The batches with these names, in order and without duplicates. Raises `UsageError` for an unknown name."""
    known = list(records)
    found: dict[str, BatchRecord] = {}
    for name in names:
        record = next((record for record in known if is_called(record, name)), None)
        if record is None:
            raise UsageError(f"there is no batch {name} in the journal {path}: `autobatcher status` lists them.")
        found[record.idempotency_key] = record
    return list(found.values())


def required(path: Place | None) -> Place:
    """The journal's path. Raises `UsageError` if it is missing."""
    if path is None:
        raise UsageError("--journal is missing: the journal's file or URL (or set AUTOBATCHER_JOURNAL).")
    return path
