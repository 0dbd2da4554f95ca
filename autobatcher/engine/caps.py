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
from .journal.others_cost import NO_OTHERS, OthersCost
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
        self._by_account: dict[Account, Budget] = {}  # a cache of the next one
        self._by_fingerprint: dict[bytes, Budget] = {}
        self._looked_at = MAX_BUDGETS
        self._others = NO_OTHERS
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
                self._forget_idle()
            payer = fingerprint(account)
            budget = self._by_fingerprint.get(payer)
            budget = self._by_account[account] = self._new_budget(payer, cap) if budget is None else budget
        return budget

    def _forget_idle(self) -> None:
        self._by_account.clear()
        self._by_fingerprint = {each: found for each, found in self._by_fingerprint.items() if found.counts_anything}
        self._looked_at = max(MAX_BUDGETS, 2 * len(self._by_fingerprint))  # looking takes as long as they are many

    def _new_budget(self, payer: bytes, cap: Cap) -> Budget:
        budget = self._by_fingerprint[payer] = Budget(cap, self._wall_clock)
        budget.spend(_in_period(self._spent_earlier.get(payer, ()), budget))
        self._others.count_in(budget, payer)
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
        self._by_fingerprint = {payer: found.without_reservations() for payer, found in self._by_fingerprint.items()}
        self._by_account.clear()
        self._reserved_earlier.clear()

    # ---- other engines, which share a journal at the same time ----

    def begin_among_others(self) -> None:
        """A session of a shared journal begins. What was spent before is among the costs of others."""
        for budget, _ in self._all():
            budget.spent = ZERO

    def see_others(self, others: OthersCost) -> None:
        """Count what others have spent and reserved, in place of what was seen before."""
        self._others = others
        for budget, payer in self._all():
            others.count_in(budget, payer)

    def budgets_of_payer(self, payer: bytes) -> list[tuple[Budget, bytes | None]]:
        """Each budget of an account that counts anything here, and whose it is; None for all. The account is given by
        its fingerprint."""
        of_all: list[tuple[Budget, bytes | None]] = [] if self.budget is None else [(self.budget, None)]
        own = self._by_fingerprint.get(payer)
        return of_all if own is None else [*of_all, (own, payer)]

    def _all(self) -> list[tuple[Budget, bytes | None]]:
        of_all: list[tuple[Budget, bytes | None]] = [] if self.budget is None else [(self.budget, None)]
        return [*of_all, *((budget, payer) for payer, budget in self._by_fingerprint.items())]

    def take_over(self, idempotency_key: str, account: Account) -> None:
        """Count here what another session has reserved for a batch that runs here from now on."""
        amount = self._others.reservations.get(idempotency_key)
        if amount and self and idempotency_key not in self._reserved_earlier:
            self._reserved_earlier[idempotency_key] = Reservation(self.budgets_of(account), amount)
            self.see_others(self._others.without(idempotency_key))

    @property
    def taken_over(self) -> frozenset[str]:
        """The batches whose reservation counts here."""
        return frozenset(self._reserved_earlier)


def _in_period(costs: Iterable[EarlierCost], budget: Budget) -> Decimal:
    """What counts in the current period of a budget."""
    first_hour = int(budget.began_at // HOUR)
    return exact.total(cost.amount for cost in costs if cost.hour >= first_hour) or ZERO
