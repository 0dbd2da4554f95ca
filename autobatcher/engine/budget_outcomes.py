"""Why a request is refused for the sake of money, in words. Pure."""

from __future__ import annotations

from decimal import Decimal

from ..errors import BudgetExceededError
from ..money.budget import ZERO, Budget
from ..money.receipt_text import dollars
from .request import Request


def budget_error(request: Request, budget: Budget, most: Decimal | None, *, setting: str) -> BudgetExceededError:
    """For a request that may cost more than a cap leaves. `setting` is the cap's name."""
    asked = "its price is unknown" if most is None else f"it may cost {dollars(most)}"
    return BudgetExceededError(
        f"This call was not sent: {asked}, and of {budget.cap} {dollars(budget.spent)} were spent and "
        f"{dollars(budget.reserved)} are reserved for calls under way.",
        advice=f"Wait for their answers, set a limit of output tokens in the call, or raise {setting}.",
        setting=setting,
        spent=budget.spent,
        reserved=budget.reserved,
        asked=most,
        cap=budget.cap.amount,
    )


def unknown_price_error(request: Request, reason: str) -> BudgetExceededError:
    """For a request whose price is unknown, where such requests are refused."""
    return BudgetExceededError(
        f"This call was not sent: the price of {request.model!r:.100} is unknown ({reason}), and such calls are "
        "refused.",
        advice='Give the price with prices=, or set unknown_prices="admit".',
        setting="unknown_prices",
        spent=ZERO,
        reserved=ZERO,
        asked=None,
        cap=None,
    )
