"""What requests would become if they were sent: batches, tokens, cost. Nothing is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .engine.admission import check_provider_takes
from .engine.queue.room import Room
from .engine.queue.windows import key_of
from .engine.request import Request
from .money.calibration import Calibration
from .money.estimate import Estimate
from .money.price_list import REALTIME, PriceList
from .money.quote import LIST_PRICE, Cost, Offer, cost_of, offers_of
from .money.rates import Rates, UnknownPrice
from .money.service_tiers import billed_lane
from .upstream.providers import ProviderProfile


class PlannedCost(NamedTuple):
    """What requests cost at one offer.

    Attributes:
        cost: of the requests whose price is known.
        priced: how many they are.
        list_price: what those of them cost in real time whose list price is known as well; None if it is for none.
        compared: what the same ones cost here.
    """

    cost: Cost = Cost()
    priced: int = 0
    list_price: Cost | None = None
    compared: Cost = Cost()

    def plus(self, other: PlannedCost) -> PlannedCost:
        """Return both together."""
        listed = [each.list_price for each in (self, other) if each.list_price is not None]
        return PlannedCost(
            self.cost.plus(other.cost),
            self.priced + other.priced,
            (listed[0] if len(listed) == 1 else listed[0].plus(listed[1])) if listed else None,
            self.compared.plus(other.compared),
        )


@dataclass
class PlannedKind:
    """The requests of one model and endpoint, and of one service tier in real time.

    Attributes:
        realtime: the lane at whose prices they would be billed in real time; see `billed_lane`.
        tiers: their tokens, by the price tier that their lengths reach, and the input tokens of a request of that tier.
        unknown: in how many of them there is something that cannot be counted.
    """

    model: str
    endpoint: str
    realtime: str = REALTIME
    requests: int = 0
    tiers: dict[int, tuple[Estimate, int]] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)

    @property
    def estimate(self) -> Estimate:
        """The tokens of all of them."""
        whole = Estimate()
        for part, _ in self.tiers.values():
            whole = whole.plus(part)
        return whole

    def add(self, estimate: Estimate, tier: int) -> None:
        """Add one request."""
        before, longest = self.tiers.get(tier, (Estimate(), 0))
        self.tiers[tier] = before.plus(estimate), max(longest, estimate.expected.input)
        self.requests += 1
        self.unknown.update(estimate.unknown)

    def cost(self, rates: Rates) -> Cost:
        """What all of them cost."""
        whole = Cost()
        for part, longest in self.tiers.values():
            whole = whole.plus(cost_of(rates, part, longest))
        return whole


_Key = tuple[str, str, str]
"""Model, endpoint, and lane in real time."""


class Plan:
    """Requests that are counted, and then forgotten: its memory does not grow with their number.

    Args:
        profile: the provider's rules.
        prices: what its models cost.
        calibration: what earlier answers say about tokens.
        batch_size: how many requests autobatcher puts into a batch at most.
    """

    def __init__(
        self, profile: ProviderProfile, prices: PriceList, calibration: Calibration, *, batch_size: int
    ) -> None:
        self.kinds: dict[_Key, PlannedKind] = {}
        self.batches: int = 0
        self._profile = profile
        self._prices = prices
        self._calibration = calibration
        self._batch_size = batch_size
        self._open: dict[Hashable, Room] = {}
        self._thresholds: dict[_Key, list[int]] = {}

    @property
    def requests(self) -> int:
        """How many requests there are."""
        return sum(kind.requests for kind in self.kinds.values())

    @property
    def offers(self) -> list[Offer]:
        """What the provider sells, the list price last."""
        return list(offers_of(self._profile))

    @property
    def estimate(self) -> Estimate:
        """The tokens of all requests."""
        whole = Estimate()
        for kind in self.kinds.values():
            whole = whole.plus(kind.estimate)
        return whole

    def add(self, request: Request, completion_window: str) -> None:
        """Count a request. It is supposed to be sent together with the others.

        Raises:
            UnbatchableRequestError: if no batch of the provider can hold it. Then it does not count.
        """
        check_provider_takes(request, completion_window)
        self._put_into_batch(request)
        key = (request.model, request.endpoint, billed_lane(REALTIME, request.body))
        kind = self.kinds.get(key)
        if kind is None:
            kind = self.kinds[key] = PlannedKind(*key)
        estimate = self._calibration.estimate(request.model, request.endpoint, request.body)
        kind.add(estimate, self._tier(key, estimate.expected.input))

    def cost(self, offer: Offer) -> PlannedCost:
        """What all requests cost at an offer, as far as prices are known."""
        whole = PlannedCost()
        for kind in self.kinds.values():
            whole = whole.plus(self.cost_of_kind(kind, offer))
        return whole

    def cost_of_kind(self, kind: PlannedKind, offer: Offer) -> PlannedCost:
        """The same for one model and endpoint."""
        rates, listed = self._rates(kind, offer), self._look_up(kind, LIST_PRICE)
        if not isinstance(rates, Rates):
            return PlannedCost()
        cost = kind.cost(rates)
        if not isinstance(listed, Rates):
            return PlannedCost(cost, kind.requests)
        return PlannedCost(cost, kind.requests, kind.cost(listed), cost)

    def unknown_prices(self, offer: Offer) -> Iterator[tuple[PlannedKind, str]]:
        """The models that have no price at an offer, and why."""
        for kind in self.kinds.values():
            found = self._rates(kind, offer)
            if isinstance(found, UnknownPrice):
                yield kind, found.reason

    def _rates(self, kind: PlannedKind, offer: Offer) -> Rates | UnknownPrice:
        return self._look_up(kind, Offer(kind.realtime) if offer == LIST_PRICE else offer)

    def _look_up(self, kind: PlannedKind, offer: Offer) -> Rates | UnknownPrice:
        return self._prices.look_up(
            kind.model, lane=offer.lane, completion_window=offer.completion_window, endpoint=kind.endpoint
        )

    def _put_into_batch(self, request: Request) -> None:
        """As windows do, if all requests come at once."""
        key = key_of(request)
        room = self._open.get(key)
        if room is None or not room.fits(request.size, request.embedding_inputs):
            room = self._open[key] = Room(self._profile, self._batch_size)
            self.batches += 1
        room.take(request.size, request.embedding_inputs)

    def _tier(self, key: _Key, tokens: int) -> int:
        """How many price tiers a request of so many input tokens reaches, whatever the lane."""
        thresholds = self._thresholds.get(key)
        if thresholds is None:
            found = [self._rates(self.kinds[key], offer) for offer in self.offers]
            over = {tier.over for rates in found if isinstance(rates, Rates) for tier in rates.tiers}
            thresholds = self._thresholds[key] = sorted(over)
        return sum(tokens > over for over in thresholds)
