"""Says in the log which models have no known price, and what that means for their calls."""

from __future__ import annotations

import logging

from ..errors import BudgetExceededError
from ..money.rates import UnknownPrice
from .request import Request

logger: logging.Logger = logging.getLogger("autobatcher")

MOST_MODELS = 100
"""How many are named. Callers of a proxy choose how many there are."""


class UnpricedModels:
    """Warns once of each model.

    A log line and no warning: programs and their tests turn warnings into exceptions, and these calls are admitted, or
    raise an exception of their own.
    """

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell_refusal(self, request: Request, error: BudgetExceededError) -> None:
        """A call is refused. A program that gathers many may not look at why each of them failed."""
        if self._is_new(request.model):
            logger.warning("autobatcher: %s All calls of this model are refused.", error)

    def tell(self, request: Request, unknown: UnknownPrice, *, setting: str, is_counted: bool) -> None:
        """A call is admitted under a cap, and may cost more than is counted.

        Args:
            unknown: why.
            setting: the cap's name.
            is_counted: whether the call counts with the price of another lane.
        """
        if not self._is_new(request.model):
            return
        counted = "may cost more than is counted" if is_counted else "count nothing"
        logger.warning(
            "autobatcher: %s does not hold for calls of the model %.100r: a price is unknown (%s), so they %s. Give it "
            'with prices= (--prices), or refuse such calls with unknown_prices="refuse" (--unknown-prices refuse).',
            setting,
            request.model,
            unknown.reason,
            counted,
        )

    def _is_new(self, model: str) -> bool:
        if model in self._told or len(self._told) >= MOST_MODELS:
            return False
        self._told.add(model)
        return True
