"""The statements for limits that hold for all engines of a journal together. Synchronous; for one thread."""

from __future__ import annotations

from decimal import Decimal

from ....money.usage import Usage
from ..charges import COUNTS, HOUR, SORT, sort_of
from ..others_cost import OthersCharge, OthersReservation, OthersSpent
from .connection import IDLE_SECONDS
from .kept import KeptStore


class LimitStore(KeptStore):
    """The statements for what one engine may do, because the others have not done it."""

    def __init__(self, url: str, *, is_read_only: bool = False, idle_seconds: float | None = IDLE_SECONDS) -> None:
        self._has_turn = False
        self._seen: dict[tuple[float, str], OthersSpent] = {}
        super().__init__(url, is_read_only=is_read_only, idle_seconds=idle_seconds)

    def take_turn(self) -> None:
        """Let no other engine count against a limit before this transaction ends.

        It must be the first statement that locks anything: else two transactions could wait for one another.
        """
        if not self._has_turn:
            self._do("SELECT 1 FROM turns FOR UPDATE")
            self._has_turn, self._seen = True, {}

    def _begin(self) -> None:
        self._has_turn = False
        super()._begin()

    def _on_rollback(self) -> None:
        self._has_turn = False
        super()._on_rollback()

    def others_spent(self, since: float, budget: str) -> OthersSpent:
        """Return what other sessions have spent since then, in Unix seconds, and reserved, whether they live or not.

        It is looked up once in a turn: until that ends, others reserve nothing.
        """
        if not self._has_turn:
            return self._others_spent(since, budget)
        if (since, budget) not in self._seen:
            self._seen[since, budget] = self._others_spent(since, budget)
        return self._seen[since, budget]

    def _others_spent(self, since: float, budget: str) -> OthersSpent:
        """In this order: a reservation goes after the charges that it was for have come."""
        reservations = self._rows(_RESERVATIONS, (budget, self.session, self.session))
        charges = self._rows(_CHARGES, (int(since // HOUR), budget, self.session or 0))
        return OthersSpent(
            [
                OthersCharge(key, account, hour, sort_of(row[: len(SORT)]), Usage(*row[len(SORT) + 2 :]))
                for key, account, hour, *row in charges
            ],
            [OthersReservation(key, account, Decimal(amount)) for key, account, amount in reservations],
        )

    def reserve_creation(self, place: str, most: int, *, now: float) -> float:
        """Reserve the earliest time at which a batch may be created, and return how long it is until then, in seconds.

        Args:
            place: what has the limit: an account, or an upstream.
            most: how many may be created in any hour.
        """
        self.take_turn()
        self._do("DELETE FROM creations WHERE moment <= %s", (now - HOUR,))
        row = self._row(_CREATION_BEFORE, (place, most - 1))
        moment = now if row is None else max(now, row[0] + HOUR)
        self._do("INSERT INTO creations (place, moment) VALUES (%s, %s)", (place, moment))
        return moment - now


_RESERVATIONS = """SELECT r.idempotency_key, coalesce(b.account, ''), r.amount::text
    FROM reservations r LEFT JOIN batches b USING (idempotency_key)
    WHERE r.budget = %s AND (r.session IS DISTINCT FROM %s OR b.owner IS DISTINCT FROM %s)"""
"""What we reserved for a batch that another engine has adopted is not counted by us any more."""

_CHARGES = (
    "SELECT coalesce(r.idempotency_key, ''), c.account, c.hour, "
    f"{', '.join(f'c.{name}' for name in SORT)}, {', '.join(f'sum(c.{name})::bigint' for name in COUNTS)} "
    "FROM charges c LEFT JOIN reservations r USING (idempotency_key) "
    "WHERE c.hour >= %s AND c.budget = %s AND c.session <> %s "
    f"GROUP BY 1, 2, 3, {', '.join(f'c.{name}' for name in SORT)}"
)

_CREATION_BEFORE = "SELECT moment FROM creations WHERE place = %s ORDER BY moment DESC OFFSET %s LIMIT 1"
