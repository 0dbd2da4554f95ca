"""A journal's file for everybody but an engine: to read at any time, or to change while no engine uses it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from ...errors import JournalError
from ...money.calibration import Calibration
from ...upstream.account import Account
from .at_exit import markers_of
from .charges import KeptCharge
from .identity import fingerprint
from .ownership import Ownership, lock_file_of
from .records import BatchRecord
from .rows import Result
from .sqlite_file import lack_of_wal
from .store import Store

__all__ = [
    "JournalEditor",
    "JournalReader",
    "KeptCharge",
    "Paid",
    "Result",
    "delete_journal",
    "edit_journal",
    "is_payer",
    "read_journal",
]


def delete_journal(path: Path) -> None:
    """Delete a journal, and all that is beside it. No engine may use it."""
    beside = [path.with_name(f"{path.name}{ending}") for ending in ("-wal", "-shm")]
    for each in (path, *beside, *markers_of(path), lock_file_of(path)):
        each.unlink(missing_ok=True)


class Paid(NamedTuple):
    """What a journal says of money.

    Attributes:
        charges: what was billed, the oldest first.
        open_lines: what may be billed at most for lines of batches and calls that are not over.
    """

    charges: list[KeptCharge]
    open_lines: list[KeptCharge]


class JournalReader:
    """What can be read of a journal. An engine may use it meanwhile."""

    def __init__(self, store: Store, path: Path) -> None:
        self._store = store
        self._path = path

    @property
    def warning(self) -> str | None:
        """What is missing in the file, and what to do; None if nothing is."""
        return lack_of_wal(self._path) if self._store.lacks_wal else None

    def batches(self) -> list[BatchRecord]:
        """All batches, the oldest first."""
        return self._store.batches()

    def results(self, batch: BatchRecord) -> Iterator[Result]:
        """Each line of a batch with its answer, in the order of the input file."""
        return self._store.results(batch.idempotency_key)

    def paid(self, since: float = 0.0) -> Paid | None:
        """What was billed since then, in Unix seconds; None if the file is older than the table of that."""
        if not self._store.has_charges:
            return None
        with self._store.snapshot():
            calibration = Calibration.decoded(self._store.kept("calibration"))
            open_lines = list(self._store.open_charges(self._store.batches(), calibration, since=since))
            return Paid(list(self._store.charges(since=since)), open_lines)


class JournalEditor(JournalReader):
    """What can be deleted from a journal, too."""

    def forget(self, batches: Iterable[BatchRecord]) -> None:
        """Delete batches with their lines and answers: all of them, or none if that fails."""
        with self._store.transaction():
            for batch in batches:
                self._store.forget(batch.idempotency_key)

    def forget_taken(self) -> int:
        """Delete all answers that callers were given; returns how many these were."""
        with self._store.transaction():
            return self._store.forget_all_taken()

    def forget_durations(self) -> None:
        """Delete what was learned of how long batches take, which names models."""
        with self._store.transaction():
            self._store.forget_durations()

    def compact(self) -> None:
        """Make the file as small as what is in it, and leave nothing in it of what was deleted."""
        self._store.compact()


@contextmanager
def read_journal(path: Path) -> Iterator[JournalReader]:
    """The journal at `path`, which must exist.

    Raises:
        JournalError: if it is no journal, or stops being one while the block reads it.
    """
    with _sqlite_errors_told(path), closing(Store(path, is_read_only=True)) as store:
        yield JournalReader(store, path)


@contextmanager
def edit_journal(path: Path) -> Iterator[JournalEditor]:
    """The journal at `path`, which must exist. No engine can use it meanwhile.

    Raises:
        JournalInUseError: if an engine uses it.
        JournalError: as `read_journal`.
    """
    with read_journal(path):
        pass  # a file that is missing, or no journal, must not become one
    with _sqlite_errors_told(path):
        ownership = Ownership(path)
        try:
            with closing(Store(path)) as store:
                yield JournalEditor(store, path)
        finally:
            ownership.release()


def is_payer(account: Account, batch: BatchRecord) -> bool:
    """Whether the batch was made with this account's base URL, credentials, headers and query."""
    return batch.account == fingerprint(account)


@contextmanager
def _sqlite_errors_told(path: Path) -> Iterator[None]:
    """Not those of the system: what the block does with what it reads may fail, too."""
    try:
        yield
    except sqlite3.Error as error:
        raise JournalError(f"The journal {path} cannot be used: {error}.") from error
