"""What a journal keeps beside batches: what was paid, and what was learned. Synchronous; for one thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from ...money.calibration import Calibration
from ...money.ledger import Fate
from . import charges, open_lines
from .charges import KeptCharge, Spent
from .records import BatchRecord
from .schema import LINES_OF_A_BATCH
from .sqlite_file import SQLiteFile


class KeptStore(SQLiteFile):
    """The statements for what outlives batches."""

    def kept(self, table: Literal["durations", "calibration"]) -> bytes:
        """Return what is kept of `Durations`, or of a `Calibration`; b"" if nothing is."""
        row = self._db.execute(f"SELECT content FROM {table}").fetchone()  # noqa: S608  (constants)
        return b"" if row is None else row[0]

    @property
    def has_charges(self) -> bool:
        """Whether the file keeps what was billed. Older ones do not."""
        return charges.has_charges(self._db)

    def charges(self, *, since: float = 0.0, budget: str | None = None) -> Iterator[KeptCharge]:
        """Yield what was billed, the oldest first; see `kept_charges`."""
        return charges.kept_charges(self._db, since=since, budget=budget)

    def open_charges(
        self, records: Iterable[BatchRecord], calibration: Calibration, *, since: float = 0.0
    ) -> Iterator[KeptCharge]:
        """Yield what may be billed for batches that are not over; see `open_lines.open_charges`."""
        return open_lines.open_charges(self, records, calibration, since=since)

    def unanswered(self, record: BatchRecord) -> Iterator[tuple[str, bytes | None]]:
        """Endpoint and body of each line of a batch that has no answer; no body if it is not stored."""
        row = self._db.execute("SELECT number FROM batches WHERE stamp = ?", (record.idempotency_key,)).fetchone()
        if row is None:  # of a damaged file: another index has it
            return
        (number,) = row
        yield from self._db.execute(_UNANSWERED, (number * LINES_OF_A_BATCH, (number + 1) * LINES_OF_A_BATCH - 1))

    def booked(self, record: BatchRecord) -> tuple[int, int]:
        """How many lines of a batch were booked, and how many of them as perhaps executed."""
        found: tuple[int, int] = self._db.execute(_BOOKED, (Fate.UNKNOWN.value, record.idempotency_key)).fetchone()
        return found

    def spent(self, since: float, budget: str) -> Spent:
        """Return what counts against a budget; see `spent_since`."""
        return charges.spent_since(self._db, since, budget)

    def keep_calibration(self, content: bytes) -> None:
        """Replace what is kept of a `Calibration`."""
        self._db.execute("INSERT OR REPLACE INTO calibration VALUES (1, ?)", (content,))

    def keep_durations(self, content: bytes) -> None:
        """Replace what is kept of `Durations`."""
        self._db.execute("INSERT OR REPLACE INTO durations VALUES (1, ?)", (content,))

    def forget_durations(self) -> None:
        """Delete it, and what is kept of a `Calibration`."""
        self._db.execute("DELETE FROM durations")
        self._db.execute("DELETE FROM calibration")


_BOOKED = (
    "SELECT coalesce(sum(requests), 0), coalesce(sum(CASE WHEN fate = ? THEN requests END), 0) "
    "FROM charges WHERE stamp = ?"
)
_UNANSWERED = (
    "SELECT endpoint, body FROM lines WHERE id BETWEEN ? AND ? "
    "AND NOT EXISTS (SELECT 1 FROM answers WHERE answers.id = lines.id) ORDER BY id"
)
