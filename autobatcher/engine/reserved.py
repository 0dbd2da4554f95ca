"""What is reserved for requests that are written into a journal. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from ..money import exact
from .request import Request


def reserved_for(requests: Iterable[Request]) -> Decimal | None:
    """What these requests may cost together, in USD; None if nothing is reserved."""
    amounts = [each.reservation.amount for each in requests if each.reservation is not None]
    return exact.total(amount for amount in amounts if amount is not None) if amounts else None
