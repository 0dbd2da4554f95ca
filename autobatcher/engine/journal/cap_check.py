"""Whether the caps have room for a batch, or a call, when the other engines of a shared journal are counted."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from typing import NamedTuple, Protocol

from ...money import exact
from .others_cost import OthersCost, OthersSpent, Price, cost_of_others


class NoRoomError(Exception):
    """The caps have no room for a batch, or a call. Nothing was recorded, and nothing was sent."""


class CapUse(NamedTuple):
    """What this engine uses of a cap.

    Attributes:
        cap: in USD.
        began_at: the period, in Unix seconds.
        payer: the account that it is for; None for all.
        own: what this engine has spent and reserved, in USD.
    """

    cap: Decimal
    began_at: float
    payer: bytes | None
    own: Decimal


class CapCheck(NamedTuple):
    """What counts here, at one moment. Another thread may use it.

    Attributes:
        since: when the longest period began, in Unix seconds.
    """

    uses: tuple[CapUse, ...]
    counted_here: Collection[str]
    price: Price
    since: float

    def cost_of(self, found: OthersSpent) -> OthersCost:
        """Price what others have spent."""
        return cost_of_others(found, self.price, counted_here=self.counted_here)

    def has_room(self, others: OthersCost) -> bool:
        """Whether nothing is over its cap, with what others have spent and reserved."""
        return all(
            exact.total((own, others.spent_since(began_at, payer), others.reserved(payer))) <= cap
            for cap, began_at, payer, own in self.uses
        )


class SharedCaps(Protocol):
    """The caps of one engine that shares a journal."""

    def check_now(self, payer: bytes | None = None) -> CapCheck:
        """Take down what counts at this moment.

        Args:
            payer: the fingerprint of the account that is to pay; None if nothing is to be paid.
        """

    def see(self, others: OthersCost) -> None:
        """Count from now on what others have spent and reserved."""
