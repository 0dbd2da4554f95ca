"""What a journal's store must do, whatever keeps it: a file or a server. Its statements are for one thread."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any, Literal, Protocol

from .charges import NewCharge, Spent
from .records import BatchRecord, StoredAnswer
from .rows import Line, NewAnswer


class JournalStore(Protocol):
    """An open journal that this process may write.

    Attributes:
        name: the journal, as messages name it. Has no password.
        heartbeat_seconds: how often `beat` must be called while nothing else is; infinite if never.
    """

    name: str
    heartbeat_seconds: float

    def transaction(self) -> AbstractContextManager[None]:
        """Run the block in a transaction: all or nothing, and on disk when the block ends."""

    def savepoint(self) -> AbstractContextManager[None]:
        """Run the block in a savepoint of the current transaction. An exception undoes only the block."""

    def errors_told(self) -> AbstractContextManager[None]:
        """Turn errors of what keeps the journal into `JournalError`."""

    def is_unusable(self, error: Exception) -> bool:
        """Whether the journal is at fault, and not one statement: a full disk, a lock, a lost connection."""

    def was_committed(self) -> bool:
        """Whether the last transaction was committed, if an `UnheardCommitError` ended it.

        Raises:
            JournalError: if that cannot be asked now.
        """

    def beat(self) -> None:
        """Show that this process is not paused. Raises nothing."""

    def close(self) -> None:
        """Release the journal."""

    def intend(
        self,
        record: BatchRecord,
        lines: Iterable[Line],
        *,
        is_hash_only: bool,
        budget: str = "",
        reserved: Decimal | None = None,
    ) -> None: ...

    def update(self, idempotency_key: str, *, now: float, **fields: Any) -> None: ...

    def end(self, idempotency_key: str, *, now: float, keeps_unanswered: bool) -> None: ...

    def forget(self, idempotency_key: str) -> None: ...

    def answer(
        self, answers: Iterable[NewAnswer], new_charges: Iterable[NewCharge] = (), *, budget: str = "", now: float
    ) -> None: ...

    def drop(self, idempotency_key: str, number: int) -> None: ...

    def mark_taken(self, idempotency_key: str, number: int) -> None: ...

    def give_back(self, idempotency_key: str, number: int) -> None: ...

    def delivered(self, idempotency_key: str, numbers: Iterable[int]) -> None: ...

    def booked_call(self, idempotency_key: str, *, now: float) -> None: ...

    def told_uncertain(self, idempotency_key: str, *, now: float) -> None: ...

    def answers(self, lines: Iterable[tuple[str, int]]) -> list[StoredAnswer | None]: ...

    def spent(self, since: float, budget: str) -> Spent: ...

    def keep_durations(self, content: bytes) -> None: ...

    def keep_calibration(self, content: bytes) -> None: ...

    def end_session(self, ending: Literal["well", "failed"]) -> None: ...

    def forget_old(self, *, now: float, retention_seconds: float) -> bool: ...
