"""What `client.estimate` returns."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from ..money.estimate import Estimate


@dataclass(frozen=True, slots=True)
class CallEstimate:
    """The tokens and the cost of one call, before it is made. Amounts are in USD.

    Attributes:
        endpoint, model: of the call.
        lane: how its answer would be got: "batch", or the first lane that the client may use.
        completion_window: the batch's; None on another lane.
        tokens: `expected`, `low`, `high` and `most`, each with `input`, `cached`, `output` and `reasoning`. One call in
            ten has less than `low`, one in ten more than `high`. `most` is what it cannot exceed, as far as is known.
        cost: of the expected tokens; None if the price is unknown.
        low_cost: of the low ones.
        high_cost: of the high ones.
        list_price: what the expected tokens cost in real time; None if that is unknown.
        unknown: what is not known, in words: prices, and parts of the call that have no known number of tokens.
    """

    endpoint: str
    model: str
    lane: str
    completion_window: str | None
    tokens: Estimate
    cost: Decimal | None
    low_cost: Decimal | None
    high_cost: Decimal | None
    list_price: Decimal | None
    unknown: tuple[str, ...] = ()
