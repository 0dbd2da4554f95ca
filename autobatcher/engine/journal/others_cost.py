"""What the other engines of a shared journal have spent, and what they may still spend. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from ...money import exact
from ...money.budget import Budget
from ...money.exact import ZERO
from ...money.ledger import Sort
from ...money.usage import Usage
from .charges import HOUR

Price = Callable[[Sort, Usage], Decimal | None]


class OthersCharge(NamedTuple):
    """What others were billed, of one sort, by one account, in one hour.

    Attributes:
        idempotency_key: of the batch, while something is reserved for it; else "".
        account: its fingerprint.
        hour: since 1970, in UTC.
    """

    idempotency_key: str
    account: bytes
    hour: int
    sort: Sort
    usage: Usage


class OthersReservation(NamedTuple):
    """What a batch, or a call, of another session may cost, in USD."""

    idempotency_key: str
    account: bytes
    amount: Decimal


class OthersSpent(NamedTuple):
    """What a journal knows of other sessions that use the same budget."""

    charges: Sequence[OthersCharge]
    reservations: Sequence[OthersReservation]


class OthersCost(NamedTuple):
    """The same in USD.

    Attributes:
        spent: with account and hour.
        reservations: what is left of them, by idempotency key.
        payers: the account of each reservation.
    """

    spent: Sequence[tuple[bytes, int, Decimal]]
    reservations: Mapping[str, Decimal]
    payers: Mapping[str, bytes]

    def spent_since(self, began_at: float, payer: bytes | None) -> Decimal:
        """What was spent since then, in Unix seconds, by one account, or by all."""
        first = int(began_at // HOUR)
        return exact.total(cost for account, hour, cost in self.spent if hour >= first and payer in (None, account))

    def reserved(self, payer: bytes | None) -> Decimal:
        """What may still be spent by one account, or by all."""
        amounts = self.reservations.items()
        return exact.total(amount for key, amount in amounts if payer is None or self.payers[key] == payer)

    def count_in(self, budget: Budget, payer: bytes | None) -> None:
        """Tell the budget of an account, or of all."""
        budget.others_spent = self.spent_since(budget.began_at, payer)
        budget.others_reserved = self.reserved(payer)

    def without(self, idempotency_key: str) -> OthersCost:
        """Return another one, without a reservation that counts here."""
        return self._replace(reservations={k: v for k, v in self.reservations.items() if k != idempotency_key})


NO_OTHERS = OthersCost((), {}, {})


def cost_of_others(found: OthersSpent, price: Price, *, counted_here: Collection[str]) -> OthersCost:
    """Price what others were billed. What was billed for a batch is a part of what was reserved for it.

    Args:
        counted_here: the idempotency keys of batches whose reservation counts here already.
    """
    spent: list[tuple[bytes, int, Decimal]] = []
    billed: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
    for charge in found.charges:
        cost = price(charge.sort, charge.usage) or ZERO
        spent.append((charge.account, charge.hour, cost))
        billed[charge.idempotency_key] = exact.total((billed[charge.idempotency_key], cost))
    counted = [each for each in found.reservations if each.idempotency_key not in counted_here]
    return OthersCost(spent, _left(counted, billed), {each.idempotency_key: each.account for each in counted})


def _left(reservations: Iterable[OthersReservation], billed: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {key: max(ZERO, exact.less(amount, billed.get(key, ZERO))) for key, _, amount in reservations}
