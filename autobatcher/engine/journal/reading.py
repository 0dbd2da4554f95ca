"""What can be read of a journal, and deleted from it, wherever it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, Protocol

from ...money.calibration import Calibration
from .charges import KeptCharge
from .health import Fleet
from .records import BatchRecord
from .rows import Result


class Paid(NamedTuple):
    """What a journal says of money.

    Attributes:
        charges: what was billed, the oldest first.
        open_lines: what may be billed at most for lines of batches and calls that are not over.
    """

    charges: list[KeptCharge]
    open_lines: list[KeptCharge]


class ReadableStore(Protocol):
    """An open journal."""

    def snapshot(self) -> AbstractContextManager[None]: ...

    def kept(self, table: Literal["durations", "calibration"]) -> bytes: ...

    def open_charges(
        self, records: Iterable[BatchRecord], calibration: Calibration, *, since: float = 0.0
    ) -> Iterator[KeptCharge]: ...

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

    def forget_responses(self, *, until: float, open_until: float) -> int: ...

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

    def fleet(self) -> Fleet | None:
        """The engines that share the journal; None if only one can use it."""
        return None

    def owners(self) -> dict[str, int]:
        """The numbers of the sessions whose engines run batches, by idempotency key, if engines share the journal."""
        return {}

    def results(self, batch: BatchRecord) -> Iterator[Result]:
        """Each line of a batch with its answer, in the order of the input file."""
        return self._store.results(batch.idempotency_key)

    def paid(self, since: float = 0.0) -> Paid | None:
        """What was billed since then, in Unix seconds; None if the journal is older than the table of that."""
        if not self._store.has_charges:
            return None
        with self._store.snapshot():
            calibration = Calibration.decoded(self._store.kept("calibration"))
            open_lines = list(self._store.open_charges(self._store.batches(), calibration, since=since))
            return Paid(list(self._store.charges(since=since)), open_lines)


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

    def forget_responses(self, *, until: float, open_until: float) -> int:
        """Delete background responses that ended before a time, and those made before another that have not ended.

        Returns how many there were.
        """
        with self._editable.transaction():
            return self._editable.forget_responses(until=until, open_until=open_until)

    def forget_durations(self) -> None:
        """Delete what was learned of how long batches take, which names models."""
        with self._editable.transaction():
            self._editable.forget_durations()

    def compact(self) -> None:
        """Give back the room of what was deleted, and leave nothing of it."""
        self._editable.compact()
