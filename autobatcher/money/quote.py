"""What estimated tokens cost, with a band, by lane and completion window. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from ..upstream.providers import ProviderProfile
from .estimate import Estimate
from .price_list import BATCH, FLEX, REALTIME
from .rates import Rates


class Offer(NamedTuple):
    """A way to buy answers.

    Attributes:
        lane: "batch", "flex" or "realtime".
        completion_window: the batch's, such as "24h"; None on other lanes.
    """

    lane: str
    completion_window: str | None = None

    def __str__(self) -> str:
        return f"{self.lane} {self.completion_window}" if self.completion_window else self.lane


LIST_PRICE = Offer(REALTIME)


def offers_of(profile: ProviderProfile) -> Iterator[Offer]:
    """What a provider sells: batches by completion window, the flex lane, and real time at list price."""
    for window in profile.priced_windows or (_usual_window(profile),):
        yield Offer(BATCH, window)
    if profile.flex_endpoints:
        yield Offer(FLEX)
    yield LIST_PRICE


def _usual_window(profile: ProviderProfile) -> str:
    return profile.completion_windows[1] if profile.completion_windows else "24h"


class Cost(NamedTuple):
    """USD, with a band: one in ten is below `low`, one in ten above `high`."""

    expected: Decimal = Decimal(0)
    low: Decimal = Decimal(0)
    high: Decimal = Decimal(0)

    def plus(self, other: Cost) -> Cost:
        """Return both together."""
        return Cost(self.expected + other.expected, self.low + other.low, self.high + other.high)


def cost_of(rates: Rates, estimate: Estimate, request_input: int | None = None) -> Cost:
    """What the estimated tokens cost.

    Args:
        request_input: the input tokens of one of the requests; None for an estimate of a single one.
    """
    expected, low, high = estimate.expected, estimate.low, estimate.high
    return Cost(*(rates.cost(usage, request_input) for usage in (expected, low, high)))
