"""A journal's file for everybody but an engine: see file.py."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ...errors import JournalError
from .at_exit import markers_of
from .file_checks import COMPANIONS
from .ownership import Ownership
from .reading import JournalEditor, JournalReader
from .sqlite_file import lack_of_wal
from .store import Store


def delete_journal(path: Path) -> None:
    """Delete a journal, and all that is beside it.

    Raises:
        JournalInUseError: if an engine uses it. It is then as it was.
        JournalError: if it cannot be used.
    """
    ownership = Ownership(path)
    try:
        for each in (path, *(path.with_name(f"{path.name}{suffix}") for suffix in COMPANIONS), *markers_of(path)):
            each.unlink(missing_ok=True)
    finally:
        ownership.release_and_delete()


@contextmanager
def read_file(path: Path) -> Iterator[JournalReader]:
    """The journal at `path`, which must exist.

    Raises:
        JournalError: if it is no journal, or stops being one while the block reads it.
    """
    with _sqlite_errors_told(path), closing(Store(path, is_read_only=True)) as store:
        yield JournalReader(store, lack_of_wal(path) if store.lacks_wal else None)


@contextmanager
def edit_file(path: Path) -> Iterator[JournalEditor]:
    """The journal at `path`, which must exist. No engine can use it meanwhile.

    Raises:
        JournalInUseError: if an engine uses it.
        JournalError: as `read_file`.
    """
    with read_file(path):
        pass  # a file that is missing, or no journal, must not become one
    with _sqlite_errors_told(path):
        ownership = Ownership(path)
        try:
            with closing(Store(path)) as store:
                yield JournalEditor(store)
        finally:
            ownership.release()


@contextmanager
def _sqlite_errors_told(path: Path) -> Iterator[None]:
    """Not those of the system: what the block does with what it reads may fail, too."""
    try:
        yield
    except sqlite3.Error as error:
        raise JournalError(f"The journal {path} cannot be used: {error}.") from error
