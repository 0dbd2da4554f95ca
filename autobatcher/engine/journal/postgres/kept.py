"""What a journal keeps beside batches, on PostgreSQL: what was paid, and what was learned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Literal

from ....money.calibration import Calibration
from ....money.ledger import Fate
from ...digest import digest_of_parts
from ..charges import (
    COLUMNS,
    COUNTS,
    HOUR,
    SORT,
    KeptCharge,
    NewCharge,
    Payer,
    Spent,
    charge_rows,
    first_kept_hour,
    kept_charge_of,
    spent_of,
)
from ..open_lines import open_charges
from ..records import BatchRecord
from .schema import LINES_OF_A_BATCH
from .sessions import SessionStore


class KeptStore(SessionStore):
    """The statements for what outlives batches."""

    def kept(self, table: Literal["durations", "calibration"]) -> bytes:
        """Return what is kept of `Durations`, or of a `Calibration`; b"" if nothing is."""
        row = self._row(f"SELECT content FROM {table}")
        return b"" if row is None else row[0]

    def keep_calibration(self, content: bytes) -> None:
        """Replace what is kept of a `Calibration`. Of several processes the last one counts."""
        self._do(_KEEP.format("calibration"), (content,))

    def keep_durations(self, content: bytes) -> None:
        """Replace what is kept of `Durations`. Of several processes the last one counts."""
        self._do(_KEEP.format("durations"), (content,))

    def forget_durations(self) -> None:
        """Delete it, and what is kept of a `Calibration`."""
        self._do("DELETE FROM durations")
        self._do("DELETE FROM calibration")

    # ---- what was billed ----

    @property
    def has_charges(self) -> bool:
        """Whether the journal keeps what was billed."""
        return True

    def charges(self, *, since: float = 0.0, budget: str | None = None) -> Iterator[KeptCharge]:
        """Yield what was billed, the oldest first. Each session has charges of its own.

        Args:
            since: in Unix seconds; what its hour brought before it counts, too.
            budget: only of that one; None for all.
        """
        yield from map(kept_charge_of, self._rows(_CHARGES, (int(since // HOUR), budget, budget)))

    def open_charges(
        self, records: Iterable[BatchRecord], calibration: Calibration, *, since: float = 0.0
    ) -> Iterator[KeptCharge]:
        """Yield what may be billed for batches that are not over; see `open_lines.open_charges`."""
        return open_charges(self, records, calibration, since=since)

    def unanswered(self, record: BatchRecord) -> Iterator[tuple[str, bytes | None]]:
        """Endpoint and body of each line of a batch that has no answer; no body if it is not stored."""
        yield from self._rows(_UNANSWERED, (record.idempotency_key,))

    def booked(self, record: BatchRecord) -> tuple[int, int]:
        """How many lines of a batch were booked, and how many of them as perhaps executed."""
        row = self._row(_BOOKED, (Fate.UNKNOWN.value, record.idempotency_key))
        assert row is not None
        return row[0], row[1]

    def spent(self, since: float, budget: str) -> Spent:
        """Return what counts against a budget, of all sessions, in a period that began at `since`, in Unix seconds."""
        sums = self._rows(_SUM, (int(since // HOUR), budget))
        reserved = self._rows("SELECT idempotency_key, amount::text FROM reservations WHERE budget = %s", (budget,))
        return spent_of(sums, [(key, amount) for key, amount in reserved])

    def _add_charges(self, new_charges: list[NewCharge], *, budget: str, now: float) -> None:
        """Add what was billed. Leaves out what another engine books, because it runs the batch by now."""
        keys = list({charge.idempotency_key for charge in new_charges})
        payers = {
            key: (Payer(*payer), is_ours)
            for key, is_ours, *payer in self._rows(_PAYERS, (self._owners(), budget, keys))
        }
        ours = [each for each in new_charges if each.number is not None or payers[each.idempotency_key][1]]
        rows = [
            (
                digest_of_parts(
                    *(str(each).encode() for each in (self.session, row[0], row[1], *row[3:4], *row[6:14]))
                ),
                self.session or 0,
                *row,
            )
            for row in map(_storable, charge_rows(ours, lambda key: payers[key][0], now=now))
        ]
        if rows:
            self._do(_ADD, [list(column) for column in zip(*rows, strict=True)])

    def _reserve(self, idempotency_key: str, *, budget: str, amount: Decimal) -> None:
        """Record what a batch may cost, before it is sent."""
        self._do(_RESERVE, (idempotency_key, self.session or 0, budget, amount))

    def _release(self, idempotency_key: str) -> None:
        """The batch is over: what it cost was added."""
        self._do(_RELEASE, (idempotency_key, self._owners()))

    def _forget_old_charges(self, *, now: float) -> None:
        self._do("DELETE FROM charges WHERE hour < %s", (first_kept_hour(now),))


def _storable(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """With texts as PostgreSQL can hold them."""
    return tuple(each.replace("\0", "�") if isinstance(each, str) else each for each in row)


_KEEP = "INSERT INTO {} VALUES (1, %s) ON CONFLICT (id) DO UPDATE SET content = excluded.content"

_CHARGES = (
    f"SELECT {', '.join(COLUMNS)} FROM charges WHERE hour >= %s AND (%s::text IS NULL OR budget = %s) ORDER BY hour, id"
)
_SUM = (
    f"SELECT account, hour, {', '.join(SORT)}, {', '.join(f'sum({name})::bigint' for name in COUNTS)} "
    f"FROM charges WHERE hour >= %s AND budget = %s GROUP BY account, hour, {', '.join(SORT)}"
)
_PAYERS = (
    "SELECT k.key, b.number IS NULL OR coalesce(b.owner, 0) = ANY(%s::int[]), coalesce(r.budget, %s), "
    "coalesce(b.metadata, '{}'), coalesce(b.account, '') FROM unnest(%s::text[]) AS k(key) "
    "LEFT JOIN batches b ON b.idempotency_key = k.key LEFT JOIN reservations r ON r.idempotency_key = k.key"
)
_TYPES = (
    *("bytea", "int", "text", "int", "text", "text", "text", "bytea"),
    *("text" for name in SORT if name != "bracket"),
    *("bigint" for _ in ("bracket", *COUNTS)),
)
_ADD = (
    f"INSERT INTO charges (alike, session, idempotency_key, {', '.join(COLUMNS)}) "
    f"SELECT * FROM unnest({', '.join(f'%s::{each}[]' for each in _TYPES)}) ORDER BY 1 "
    f"ON CONFLICT (alike) DO UPDATE SET {', '.join(f'{name} = charges.{name} + excluded.{name}' for name in COUNTS)}"
)
_RESERVE = (
    "INSERT INTO reservations VALUES (%s, %s, %s, %s) ON CONFLICT (idempotency_key) DO UPDATE "
    "SET session = excluded.session, budget = excluded.budget, amount = excluded.amount"
)
_RELEASE = (
    "DELETE FROM reservations r WHERE idempotency_key = %s AND NOT EXISTS (SELECT 1 FROM batches b "
    "WHERE b.idempotency_key = r.idempotency_key AND coalesce(b.owner, 0) <> ALL(%s::int[]))"
)

_UNANSWERED = f"""SELECT l.endpoint, l.body FROM batches b JOIN lines l
    ON l.id BETWEEN b.number * {LINES_OF_A_BATCH} AND (b.number + 1) * {LINES_OF_A_BATCH} - 1
    WHERE b.idempotency_key = %s AND NOT EXISTS (SELECT 1 FROM answers a WHERE a.id = l.id) ORDER BY l.id"""

_BOOKED = """SELECT coalesce(sum(requests), 0)::bigint, coalesce(sum(requests) FILTER (WHERE fate = %s), 0)::bigint
    FROM charges WHERE idempotency_key = %s"""
