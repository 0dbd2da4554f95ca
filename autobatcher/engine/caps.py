"""The caps of one engine: the budgets that a request counts against, and what earlier runs spent and reserved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from ..money import exact
from ..money.budget import Budget, Reservation
from ..money.cap import Cap, cap_of
from ..money.exact import ZERO
from ..upstream.account import Account
from .journal.charges import HOUR
from .journal.identity import fingerprint
from .settings import Settings

MAX_BUDGETS = 10_000
"""How many accounts have a budget of their own before those are forgotten that count nothing."""


class EarlierCost(NamedTuple):
    """What an account spent in one hour of earlier runs.

    Attributes:
        account: its fingerprint.
        hour: since 1970, in UTC.
        amount: in USD.
    """

    account: bytes
    hour: int
    amount: Decimal


class Caps:
    """What limits an engine: a cap for all it spends, and one for each account.

    Args:
        wall_clock: returns Unix seconds.

    Attributes:
        budget: of all accounts together; None if that has no cap.
    """

    def __init__(self, settings: Settings, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self.budget: Budget | None = (
            None if settings.max_cost is None else Budget(cap_of(settings.max_cost), wall_clock)
        )
        self._account_cap = None if settings.max_cost_per_account is None else cap_of(settings.max_cost_per_account)
        self._by_account: dict[Account, Budget] = {}
        self._looked_at = MAX_BUDGETS
        self._spent_earlier: dict[bytes, list[EarlierCost]] = {}  # by fingerprint
        self._reserved_earlier: dict[str, Reservation] = {}  # by idempotency key

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self.budget is not None or self._account_cap is not None

    @property
    def counts_since(self) -> float:
        """When the longest of the periods began, in Unix seconds."""
        caps = [self._account_cap, None if self.budget is None else self.budget.cap]
        now = self._wall_clock()
        return min((cap.period.began_at(now) for cap in caps if cap is not None), default=0.0)

    def name_of(self, budget: Budget) -> str:
        """The setting that a budget is of."""
        return "max_cost" if budget is self.budget else "max_cost_per_account"

    def budgets_of(self, account: Account) -> tuple[Budget, ...]:
        """Each budget that a request of this account counts against."""
        of_account = () if self._account_cap is None else (self._budget_of(account, self._account_cap),)
        return of_account if self.budget is None else (self.budget, *of_account)

    def _budget_of(self, account: Account, cap: Cap) -> Budget:
        """The budget of an account. Callers choose keys, so those that count nothing are forgotten when there are
        many."""
        budget = self._by_account.get(account)
        if budget is None:
            if len(self._by_account) >= self._looked_at:
                self._by_account = {each: found for each, found in self._by_account.items() if found.counts_anything}
                self._looked_at = max(MAX_BUDGETS, 2 * len(self._by_account))  # looking takes as long as they are many
            budget = self._by_account[account] = Budget(cap, self._wall_clock)
            if self._spent_earlier:
                budget.spend(_in_period(self._spent_earlier.get(fingerprint(account), ()), budget))
        return budget

    # ---- earlier runs ----

    def load(self, costs: Iterable[EarlierCost], reserved: Mapping[str, Decimal]) -> None:
        """Count what earlier runs spent, in place of what is counted so far, and what their batches may cost.

        Args:
            reserved: in USD, by idempotency key.
        """
        costs = list(costs)
        self._spent_earlier.clear()
        for cost in costs:
            self._spent_earlier.setdefault(cost.account, []).append(cost)
        if self.budget is not None:
            self.budget.spent = _in_period(costs, self.budget)
        budgets = () if self.budget is None else (self.budget,)
        for idempotency_key, amount in reserved.items():
            if idempotency_key not in self._reserved_earlier:
                self._reserved_earlier[idempotency_key] = Reservation(budgets, amount)

    def take_earlier(self, idempotency_key: str, lines: int) -> Reservation | None:
        """Take what an earlier run reserved for one of the lines of its batch; None if it did not."""
        earlier = self._reserved_earlier.get(idempotency_key)
        return earlier.take(exact.share(earlier.whole, lines)) if earlier is not None and earlier.whole else None

    def release_earlier(self, idempotency_key: str) -> None:
        """The batch is over."""
        if (earlier := self._reserved_earlier.pop(idempotency_key, None)) is not None:
            earlier.release()

    def forget_reservations(self) -> None:
        """This is a fork of the process in which requests run: none of them runs here."""
        self.budget = None if self.budget is None else self.budget.without_reservations()
        self._by_account = {account: found.without_reservations() for account, found in self._by_account.items()}
        self._reserved_earlier.clear()


def _in_period(costs: Iterable[EarlierCost], budget: Budget) -> Decimal:
    """What counts in the current period of a budget."""
    first_hour = int(budget.began_at // HOUR)
    return exact.total(cost.amount for cost in costs if cost.hour >= first_hour) or ZERO
