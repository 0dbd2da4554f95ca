"""What a request may cost at most, on the lanes that it may take. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from ..money import exact
from ..money.exact import ZERO
from ..money.price_list import BATCH, FLEX, REALTIME, PriceList
from ..money.rates import UnknownPrice
from ..money.service_tiers import billed_lane
from ..money.usage import Usage
from .lanes.lane import Lane, Overrun, usable_lanes
from .request import Request
from .settings import Settings


def most_cost(
    request: Request, most: Usage, prices: PriceList, settings: Settings
) -> tuple[Decimal | None, UnknownPrice | None]:
    """What a request may cost at most on its lanes, as far as that is known, and why it is not.

    Args:
        most: the tokens that it may have.
        prices: of its provider.
    """
    cost, unknown = None, None
    for lane, window in _ways(request, settings):
        rates = prices.look_up(request.model, lane=lane, completion_window=window, endpoint=request.endpoint)
        if isinstance(rates, UnknownPrice):
            unknown = rates
        else:
            cost = max(cost or ZERO, rates.most(most))
    is_twice = cost is not None and request.terms.overrun is Overrun.PAY_TWICE
    return exact.times(cost, 2) if cost is not None and is_twice else cost, unknown


def _ways(request: Request, settings: Settings) -> Iterator[tuple[str, str | None]]:
    """The lanes, or service tiers, and the completion windows at which a request may be billed."""
    profile = request.account.provider
    lanes = usable_lanes(request.terms.lanes, profile, request.endpoint)
    if Lane.BATCH in lanes:
        windows = {settings.completion_window}
        if request.terms.deadline is not None and settings.explicit_completion_window is None:
            windows.update(profile.priced_windows)
        yield from ((BATCH, window) for window in windows)
    asked = billed_lane(REALTIME, request.body) if Lane.REALTIME in lanes else None
    if Lane.FLEX in lanes or asked == FLEX:
        yield FLEX, None
        yield REALTIME, None  # flex is answered, and billed, in real time at times
    if asked is not None and asked != FLEX:
        yield asked, None
