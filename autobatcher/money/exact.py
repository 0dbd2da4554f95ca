"""Sums of dollars that are exact, whatever a program has set for `decimal`. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_DOWN, Context, Decimal, Inexact

ZERO = Decimal(0)

EXACT = Context(prec=100, traps=[Inexact])
"""Neither rounds nor asks the thread's own context, which programs change."""

_FRACTION = Decimal("1e-18")
"""The smallest part of a dollar: a token costs multiples of it."""

_ROUNDED = Context(prec=100, rounding=ROUND_DOWN)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the sum."""
    found = ZERO
    for amount in amounts:
        found = EXACT.add(found, amount)
    return found


def less(amount: Decimal, other: Decimal) -> Decimal:
    """Return `amount` - `other`."""
    return EXACT.subtract(amount, other)


def times(amount: Decimal, factor: int) -> Decimal:
    """Return `amount` * `factor`."""
    return EXACT.multiply(amount, Decimal(factor))


def share(amount: Decimal, parts: int) -> Decimal:
    """Return one of so many equal parts, rounded down, so that together they are not more than the amount."""
    return _ROUNDED.quantize(_ROUNDED.divide(amount, Decimal(parts)), _FRACTION)
