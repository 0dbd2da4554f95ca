"""What can be read of a journal, and deleted from it, wherever it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from .charges import KeptCharge
from .records import BatchRecord
from .rows import Result


class ReadableStore(Protocol):
    """An open journal."""

    @property
    def has_charges(self) -> bool: ...

    def batches(self) -> list[BatchRecord]: ...

    def results(self, idempotency_key: str) -> Iterator[Result]: ...

    def charges(self, *, since: float = 0.0) -> Iterator[KeptCharge]: ...


class EditableStore(ReadableStore, Protocol):
    """An open journal that may be written."""

    def transaction(self) -> AbstractContextManager[None]: ...

    def forget(self, idempotency_key: str) -> None: ...

    def forget_all_taken(self) -> int: ...

    def forget_durations(self) -> None: ...

    def compact(self) -> None: ...


class JournalReader:
    """What can be read of a journal. Engines may use it meanwhile.

    Attributes:
        warning: what is missing in it, and what to do; None if nothing is.
    """

    def __init__(self, store: ReadableStore, warning: str | None = None) -> None:
        self._store = store
        self.warning = warning

    def batches(self) -> list[BatchRecord]:
        """All batches, the oldest first."""
        return self._store.batches()

    def results(self, batch: BatchRecord) -> Iterator[Result]:
        """Each line of a batch with its answer, in the order of the input file."""
        return self._store.results(batch.idempotency_key)

    def charges(self, since: float = 0.0) -> Iterator[KeptCharge] | None:
        """What was billed since then, in Unix seconds, the oldest first; None if the journal is older than that."""
        return self._store.charges(since=since) if self._store.has_charges else None


class JournalEditor(JournalReader):
    """What can be deleted from a journal, too."""

    def __init__(self, store: EditableStore, warning: str | None = None) -> None:
        super().__init__(store, warning)
        self._editable = store

    def forget(self, batches: Iterable[BatchRecord]) -> list[BatchRecord]:
        """Delete batches with their lines and answers. Returns those that it left, since an engine runs them.

        If it fails, nothing is deleted.
        """
        wanted = list(batches)
        with self._editable.transaction():
            for batch in wanted:
                self._editable.forget(batch.idempotency_key)
            left = {batch.idempotency_key for batch in self._editable.batches()}
        return [batch for batch in wanted if batch.idempotency_key in left]

    def forget_taken(self) -> int:
        """Delete all answers that callers were given; returns how many these were."""
        with self._editable.transaction():
            return self._editable.forget_all_taken()

    def forget_durations(self) -> None:
        """Delete what was learned of how long batches take, which names models."""
        with self._editable.transaction():
            self._editable.forget_durations()

    def compact(self) -> None:
        """Give back the room of what was deleted, and leave nothing of it."""
        self._editable.compact()
