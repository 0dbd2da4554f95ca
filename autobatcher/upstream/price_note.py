"""What a provider says of its prices, with date and source. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceNote:
    """What some models of a provider cost on one lane: rates, or a discount on the list price. USD.

    Attributes:
        lane: "batch", "flex" or "realtime".
        window: the completion window of which it is said; None for every window.
        models: names, in which * stands for anything.
        input: USD per million input tokens.
        output: USD per million output tokens; 0 for models that write none.
        cached: USD per million cached input tokens; None if they cost what other input costs.
        discount: what is taken off the list price, such as 0.5 for half; instead of rates.
        source: who says so, and where.
        as_of: when they said so, or when it was looked up.

    Raises:
        ValueError: if it has neither rates nor a discount, or both, or a number that is no price.
    """

    lane: Literal["batch", "flex", "realtime"]
    window: str | None = None
    models: tuple[str, ...] = ("*",)
    input: Decimal | None = None
    output: Decimal | None = None
    cached: Decimal | None = None
    discount: Decimal | None = None
    source: str
    as_of: date

    def __post_init__(self) -> None:
        rates = (self.input, self.output, self.cached)
        if self.discount is None and (self.input is None or self.output is None):
            raise ValueError("a price note needs input and output, or a discount")
        if self.discount is not None and any(rate is not None for rate in rates):
            raise ValueError("a price note has rates or a discount, not both")
        if self.discount is not None and not (is_price(self.discount) and 0 < self.discount < 1):
            raise ValueError(f"discount must be between 0 and 1, such as 0.5 for half; not {self.discount}")
        if self.discount is not None and self.lane == "realtime":
            raise ValueError("a discount is on the price of real time, which can have none")
        for rate in rates:
            if rate is not None and not is_price(rate):
                raise ValueError(f"a price must be {WHAT_A_PRICE_IS}; not {rate}")
        if not self.source.strip():
            raise ValueError("source must say where the price is from")

    def is_for(self, model: str, lane: str, window: str | None) -> bool:
        """Whether it says what this model costs there."""
        if lane != self.lane or (self.window is not None and window != self.window):
            return False
        return any(is_named(model, pattern) for pattern in self.models)


WHAT_A_PRICE_IS = "USD per million tokens, from 0 to 1000000, with at most 12 digits after the point"


def is_price(rate: Decimal) -> bool:
    """Whether a number can be a price: more digits could not be summed exactly."""
    if not rate.is_finite() or not 0 <= rate <= 1_000_000:
        return False
    exponent = rate.as_tuple().exponent
    return isinstance(exponent, int) and -12 <= exponent <= 6


def is_named(model: str, pattern: str) -> bool:
    """Whether a pattern, in which * stands for anything, names a model."""
    if "*" not in pattern:
        return model == pattern
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), model, re.DOTALL) is not None
