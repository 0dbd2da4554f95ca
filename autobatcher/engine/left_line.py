"""A line that nobody waits for any more, and what it may cost."""

from __future__ import annotations

from typing import NamedTuple

from ..money.budget import Reservation
from ..money.ledger import Charge, Fate


class LeftLine(NamedTuple):
    """A line of a batch that its caller does not wait for any more, and that may have been executed.

    Attributes:
        reservation: what it may cost; None if nothing is reserved for it.
        fate: what it is booked as once its answer is found.
        unknown: what it is booked as if that is never known.
        was_executed: whether it certainly was, though its answer cannot be read.
    """

    model: str
    reservation: Reservation | None
    fate: Fate
    unknown: Charge
    was_executed: bool = False
