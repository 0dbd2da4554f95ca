"""What was spent and what is reserved, against a cap. Pure."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from . import exact
from .cap import Cap
from .exact import ZERO


class Budget:
    """One cap, and what counts against it. All amounts are in USD.

    Spent and reserved together never exceed the cap by a reservation; an answer that cost more than was reserved for it
    can.

    Args:
        wall_clock: returns Unix seconds, for the period of the cap.

    Attributes:
        spent: in the current period.
        reserved: for what runs or waits, whenever it was admitted.
        others_spent, others_reserved: the same of other engines that share the cap, as last seen.
        unknown: how many requests count as nothing, because their price is unknown.
    """

    def __init__(self, cap: Cap, wall_clock: Callable[[], float]) -> None:
        self.cap: Cap = cap
        self.spent: Decimal = ZERO
        self.reserved: Decimal = ZERO
        self.others_spent: Decimal = ZERO
        self.others_reserved: Decimal = ZERO
        self.unknown: int = 0
        self._wall_clock = wall_clock
        self._began_at = cap.period.began_at(wall_clock())

    def has_room(self, amount: Decimal) -> bool:
        """Whether so much more may be reserved."""
        return exact.total((self.spent_now, self.reserved_now, amount)) <= self.cap.amount

    @property
    def spent_now(self) -> Decimal:
        """What was spent in the period of this moment, by others, too."""
        self._pass_time()
        return exact.total((self.spent, self.others_spent))

    @property
    def reserved_now(self) -> Decimal:
        """What is reserved, by others, too."""
        return exact.total((self.reserved, self.others_reserved))

    @property
    def own(self) -> Decimal:
        """What counts of this engine alone."""
        self._pass_time()
        return exact.total((self.spent, self.reserved))

    @property
    def left(self) -> Decimal:
        """What may still be reserved; 0 if answers cost more than was reserved for them."""
        return max(ZERO, exact.less(self.cap.amount, exact.total((self.spent_now, self.reserved_now))))

    @property
    def counts_anything(self) -> bool:
        """Whether a new budget would allow more."""
        self._pass_time()
        return bool(self.spent or self.reserved)

    def spend(self, amount: Decimal) -> None:
        """Something was billed."""
        self._pass_time()
        self.spent = exact.total((self.spent, amount))

    def hold(self, amount: Decimal) -> None:
        """Something is reserved; a negative amount is so no more."""
        self.reserved = exact.total((self.reserved, amount))

    @property
    def began_at(self) -> float:
        """When the current period began, in Unix seconds."""
        self._pass_time()
        return self._began_at

    def without_reservations(self) -> Budget:
        """Return another one, in which nothing is reserved."""
        other = Budget(self.cap, self._wall_clock)
        other.spent = self.spent
        return other

    def _pass_time(self) -> None:
        began_at = self.cap.period.began_at(self._wall_clock())
        if began_at > self._began_at:
            self._began_at, self.spent, self.others_spent = began_at, ZERO, ZERO


class Reservation:
    """What one request may cost at most, until it is known what it did cost.

    Args:
        budgets: it counts against each of them.
        amount: None if it is unknown.
    """

    __slots__ = ("_budgets", "amount", "whole")

    def __init__(self, budgets: tuple[Budget, ...], amount: Decimal | None) -> None:
        self.amount: Decimal | None = amount
        self.whole: Decimal = amount or ZERO  # before anything was taken
        self._budgets = budgets
        for budget in budgets:
            budget.hold(amount or ZERO)
            budget.unknown += amount is None

    def spend(self, cost: Decimal | None) -> None:
        """The request was billed, or may have been; None if its price is unknown, which counts as what was reserved."""
        amount = (self.amount or ZERO) if cost is None else cost
        for budget in self._release():
            budget.spend(amount)

    def split(self) -> Reservation:
        """Take half of it into another reservation: the request may be billed twice."""
        return self.take(None if self.amount is None else exact.share(self.amount, 2))

    @property
    def has_room_again(self) -> bool:
        """Whether its budgets have room for another one of the same amount."""
        return all(budget.has_room(self.amount or ZERO) for budget in self._budgets)

    def again(self) -> Reservation:
        """Make another one of the same amount, because the request is sent again."""
        return Reservation(self._budgets, self.amount)

    def take(self, part: Decimal | None) -> Reservation:
        """Take a part of it, or what is left, into another reservation. None if it is unknown, too."""
        if self.amount is not None and part is not None:
            part = min(part, self.amount)
            for budget in self._budgets:
                budget.hold(exact.less(ZERO, part))
            self.amount = exact.less(self.amount, part)
        return Reservation(self._budgets, part)

    def release(self) -> None:
        """The request was certainly not billed, or is accounted for. Can be called again."""
        self._release()

    def _release(self) -> tuple[Budget, ...]:
        budgets, self._budgets = self._budgets, ()
        for budget in budgets:
            budget.hold(exact.less(ZERO, self.amount or ZERO))
        return budgets
