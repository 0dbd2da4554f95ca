"""What a request's outcome is, in words, where a cap or an unknown price forbids to send it. Pure."""

from __future__ import annotations

from decimal import Decimal

from ..errors import BatchEndedError, BudgetExceededError
from ..money.budget import Budget
from ..money.exact import ZERO
from ..money.receipt_text import dollars
from .outcomes import MISSING
from .request import Request


def budget_error(request: Request, budget: Budget, most: Decimal | None, *, setting: str) -> BudgetExceededError:
    """For a request that may cost more than a cap leaves. `setting` is the cap's name."""
    asked = "its price is unknown" if most is None else f"it may cost {dollars(most)}"
    return BudgetExceededError(
        f"This call was not sent: {asked}, and of {budget.cap} {dollars(budget.spent_now)} were spent and "
        f"{dollars(budget.reserved_now)} are reserved for calls under way.",
        advice=f"Wait for their answers, set a limit of output tokens in the call, or raise {setting}.",
        setting=setting,
        spent=budget.spent_now,
        reserved=budget.reserved_now,
        asked=most,
        cap=budget.cap.amount,
    )


def repetition_error(request: Request, batch_id: str | None) -> BatchEndedError:
    """For a request whose line may have been billed, and is not sent again, because a cap has no room for that."""
    return BatchEndedError(
        f"Batch {batch_id} has no answer to this request, and may have billed it. It was not sent again, because "
        "max_cost does not leave what that may cost.",
        status="failed",
        batch_id=batch_id,
        custom_id=request.custom_id,
        body={"code": MISSING},
    )


def unknown_price_error(request: Request, reason: str) -> BudgetExceededError:
    """For a request whose price is unknown, where such requests are refused."""
    return BudgetExceededError(
        f"This call was not sent, since the price of {request.model!r:.100} is unknown ({reason}).",
        advice='Give the price with prices=, or set unknown_prices="admit".',
        setting="unknown_prices",
        spent=ZERO,
        reserved=ZERO,
        asked=None,
        cap=None,
    )
