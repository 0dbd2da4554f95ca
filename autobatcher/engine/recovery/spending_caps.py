"""The caps of one engine, as its shared journal asks for them."""

from __future__ import annotations

from ..journal.cap_check import CapCheck, CapUse
from ..journal.others_cost import OthersCost
from ..spending import Spending


class SpendingCaps:
    """Implements `SharedCaps`."""

    def __init__(self, spending: Spending) -> None:
        self._spending = spending

    def check_now(self, payer: bytes | None = None) -> CapCheck:
        spending = self._spending
        budgets = [] if payer is None else spending.caps.budgets_of_payer(payer)
        uses = tuple(CapUse(budget.cap.amount, budget.began_at, of, budget.own) for budget, of in budgets)
        return CapCheck(uses, spending.counted_here, spending.cost_in, spending.counts_since)

    def see(self, others: OthersCost) -> None:
        self._spending.caps.see_others(others)
