"""What one engine spends: what is admitted under its caps, and what is booked when it was billed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from ..errors import BudgetExceededError
from ..money.budget import ZERO, Budget, Reservation
from ..money.calibration import Calibration
from ..money.cap import Cap, cap_of
from ..money.ledger import Charge, Fate, Ledger, Sort, bracket_of, input_in
from ..money.price_list import PriceList
from ..money.rates import UnknownPrice
from ..money.receipt import Receipt, receipt_of
from ..money.usage import Usage, name_in, usage_of
from ..upstream.account import Account
from ..upstream.providers import ProviderProfile, known_profile
from . import checks, outcomes
from .journal.charges import Spent
from .journal.identity import fingerprint, without_credentials
from .lanes.lane import Lane, Overrun
from .request import Answer, Request
from .settings import Settings

MAX_REMEMBERED = 20_000
"""How many answers are remembered that did not come from a batch of the usual completion window."""

MAX_URLS = 1_000

MAX_BUDGETS = 10_000
"""How many accounts have a budget of their own before those are forgotten that count nothing."""


LEARN_FIRST, LEARN_EVERY = 500, 16
"""Of which answers the tokens are compared with the request: it takes some 50 microseconds each."""


class LeftLine(NamedTuple):
    """A line of a batch that its caller does not wait for any more, and that may have been executed.

    Attributes:
        reservation: what it may cost; None if nothing is reserved for it.
        fate: what it is booked as once its answer is found.
        most: the tokens that it may have; None if nothing is capped.
        was_executed: whether it certainly was, though its answer cannot be read.
    """

    model: str
    reservation: Reservation | None
    fate: Fate
    most: Usage | None = None
    was_executed: bool = False


class Spending:
    """The money of one engine.

    Args:
        wall_clock: returns Unix seconds.

    Attributes:
        ledger: what was billed since the engine began.
        calibration: learns from answers how many tokens requests have.
    """

    def __init__(self, settings: Settings, wall_clock: Callable[[], float] = time.time) -> None:
        self.ledger: Ledger = Ledger()
        self.calibration: Calibration = Calibration()
        self._settings = settings
        self._wall_clock = wall_clock
        self._prices: dict[tuple[str, str], PriceList] = {}
        self._profiles: dict[str, ProviderProfile] = {}
        self._urls: dict[str, str] = {}  # without credentials
        self._budget = None if settings.max_cost is None else Budget(cap_of(settings.max_cost), wall_clock)
        self._account_cap = None if settings.max_cost_per_account is None else cap_of(settings.max_cost_per_account)
        self._budgets_by_account: dict[Account, Budget] = {}
        self._left: dict[str, dict[str, LeftLine]] = {}
        self._earlier: dict[str, Reservation] = {}  # for batches of earlier runs
        self._spent_by_account: dict[bytes, Decimal] = {}  # by earlier runs, by fingerprint
        self._learned = 0
        self._dear: OrderedDict[str, Sort] = OrderedDict()  # by ids of answers and of requests
        self._given_prices = checks.prices(settings.prices)

    # ---- of earlier runs ----

    @property
    def counts_since(self) -> float:
        """When the longest of the periods began that the caps count for, in Unix seconds."""
        caps = [self._account_cap, None if self._budget is None else self._budget.cap]
        now = self._wall_clock()
        return min((cap.period.began_at(now) for cap in caps if cap is not None), default=0.0)

    def load(self, spent: Spent) -> None:
        """Count what earlier runs spent, and what their batches may cost."""
        budgets = () if self._budget is None else (self._budget,)
        for idempotency_key, amount in spent.reserved.items():
            if idempotency_key not in self._earlier:
                self._earlier[idempotency_key] = Reservation(budgets, amount)
        self._spent_by_account.clear()
        total = ZERO
        for (account, sort), entry in spent.charges.items():
            cost = self._cost_in(sort, entry.usage) or ZERO
            total += cost
            self._spent_by_account[account] = self._spent_by_account.get(account, ZERO) + cost
        if self._budget is not None:
            self._budget.spent = total

    # ---- before ----

    @property
    def has_caps(self) -> bool:
        """Whether anything limits what is spent."""
        return self._budget is not None or self._account_cap is not None

    @property
    def looks_up_prices(self) -> bool:
        """Whether a new request is admitted by its price."""
        return self.has_caps or self._settings.unknown_prices == "refuse"

    def reserve(self, request: Request) -> BudgetExceededError | None:
        """Reserve what a new request may cost; or return why it is refused. Then nothing was reserved."""
        if not self.looks_up_prices:
            return None
        found = self._most(request)
        if isinstance(found, UnknownPrice) and self._settings.unknown_prices == "refuse":
            return outcomes.unknown_price_error(request, found.reason)
        most = None if isinstance(found, UnknownPrice) else found
        budgets = self._budgets(request.account)
        for budget in budgets:
            if not budget.has_room(most or ZERO):
                setting = "max_cost" if budget is self._budget else "max_cost_per_account"
                return outcomes.budget_error(request, budget, most, setting=setting)
        request.reservation = Reservation(budgets, most) if budgets else None
        return None

    def _most(self, request: Request) -> Decimal | UnknownPrice:
        """What a request may cost at most, on the dearest of its lanes."""
        prices = self.prices(request.account)
        usage = self.calibration.most(request.model, request.endpoint, request.body)
        costs: list[Decimal] = []
        for lane in request.terms.lanes:
            window = self._settings.completion_window if lane is Lane.BATCH else None
            rates = prices.look_up(request.model, lane=lane.value, completion_window=window, endpoint=request.endpoint)
            if isinstance(rates, UnknownPrice):
                return rates
            costs.append(rates.cost(usage))
        times = 2 if request.terms.overrun is Overrun.PAY_TWICE else 1
        return max(costs) * times

    def most_usage(self, request: Request) -> Usage | None:
        """The tokens that a request may have at most; None if nothing is capped."""
        return self.calibration.most(request.model, request.endpoint, request.body) if self.has_caps else None

    def _budgets(self, account: Account) -> tuple[Budget, ...]:
        of_account = () if self._account_cap is None else (self._budget_of(account, self._account_cap),)
        return of_account if self._budget is None else (self._budget, *of_account)

    def _budget_of(self, account: Account, cap: Cap) -> Budget:
        """The budget of an account. Callers choose keys, so those that count nothing are forgotten when there are
        many."""
        budget = self._budgets_by_account.get(account)
        if budget is None:
            if len(self._budgets_by_account) >= MAX_BUDGETS:
                used = {each: found for each, found in self._budgets_by_account.items() if found.counts_anything}
                self._budgets_by_account = used
            budget = self._budgets_by_account[account] = Budget(cap, self._wall_clock)
            if self._spent_by_account:
                budget.spent = self._spent_by_account.get(fingerprint(account), ZERO)
        return budget

    # ---- after ----

    def charge(
        self, account: Account, endpoint: str, model: str, answer: Answer, *, completion_window: str, fate: Fate
    ) -> Charge | None:
        """What an answer is booked as; None if it was not billed, since it is a failure."""
        if answer.status_code >= 300:
            return None
        usage = usage_of(answer.body)
        window = completion_window if answer.lane == Lane.BATCH.value else ""
        where = (*self._where(account), model, endpoint, answer.lane, window)
        sort = Sort(*where, fate, bracket_of(usage))
        self._remember(sort, answer)
        return Charge(sort, usage, answer.batch_id)

    def unknown_charge(
        self,
        account: Account,
        endpoint: str,
        model: str,
        most: Usage | None,
        *,
        lane: str,
        completion_window: str,
        batch_id: str,
    ) -> Charge:
        """What an execution is booked as that nobody knows of: with the most tokens that it may have."""
        where = (*self._where(account), model, endpoint, lane, completion_window)
        return Charge(Sort(*where, Fate.UNKNOWN, bracket_of(most)), most, batch_id)

    def book_call(self, request: Request, answer: Answer) -> Charge | None:
        """Count a call on another lane. Returns what a journal records."""
        charge = self.charge(
            request.account, request.endpoint, request.model, answer, completion_window="", fate=Fate.DELIVERED
        )
        if charge is not None:
            self.book(charge, request.account, request.pop_reservation())
            self.learn(request, charge)
        return charge

    def book_unknown_call(self, request: Request, lane: str) -> Charge:
        """Count a call that may have been executed. Returns what a journal records."""
        return self._book_unknown_call(request, lane, request.pop_reservation())

    def book_repeated_call(self, request: Request, lane: str) -> Charge:
        """The same for a call that is made again."""
        return self._book_unknown_call(request, lane, request.reservation and request.reservation.split())

    def _book_unknown_call(self, request: Request, lane: str, reservation: Reservation | None) -> Charge:
        charge = self.unknown_charge(
            request.account,
            request.endpoint,
            request.model,
            self.most_usage(request),
            lane=lane,
            completion_window="",
            batch_id="",
        )
        self.book(charge, request.account, reservation)
        return charge

    def learn(self, request: Request, charge: Charge) -> None:
        """Learn from an answer how many tokens such requests have: from the first ones, and some of the others."""
        self._learned += 1
        if charge.usage is not None and (self._learned <= LEARN_FIRST or self._learned % LEARN_EVERY == 0):
            self.calibration.observe(request.model, request.endpoint, request.body, charge.usage)

    def book(self, charge: Charge, account: Account, reservation: Reservation | None) -> None:
        """Count an execution."""
        sort, usage, batch_id = charge
        self.ledger.add(sort, usage, batch_id)
        if not self.has_caps:
            return
        cost = None if usage is None else self._cost_in(sort, usage)
        if reservation is not None:
            reservation.spend(cost)
        elif cost is not None:
            for budget in self._budgets(account):
                budget.spend(cost)

    def _cost_in(self, sort: Sort, usage: Usage) -> Decimal | None:
        """What one request of a sort cost, with these tokens."""
        rates = self.prices_at(sort.provider, sort.base_url).rates(
            sort.model, lane=sort.lane, completion_window=sort.completion_window or None, endpoint=sort.endpoint
        )
        return None if rates is None else rates.cost(usage, input_in(sort.bracket))

    def cost_of(self, body: bytes, request_id: str | None) -> Decimal | None:
        """What one answer was billed; None if its price or its tokens are unknown."""
        name, usage = name_in(body), usage_of(body)
        sort = self._dear.get(request_id or "") or self._dear.get(name.id) or self._usual_sort(name.model)
        if sort is None or usage is None:
            return None
        return self._cost_in(sort, usage)

    def _usual_sort(self, named: str) -> Sort | None:
        """What an answer of this model was most likely booked as. Providers answer with the model's full name."""
        sorts = [sort for sort, _ in self.ledger if sort.lane == Lane.BATCH.value and named.startswith(sort.model)]
        window = self._settings.completion_window
        return max(sorts, key=lambda sort: (len(sort.model), sort.completion_window == window), default=None)

    def _remember(self, sort: Sort, answer: Answer) -> None:
        """Remember what an answer was booked as, unless it is the usual: a line in a batch of the usual window."""
        if sort.lane == Lane.BATCH.value and sort.completion_window == self._settings.completion_window:
            return
        for key in (answer.request_id, name_in(answer.body).id):
            if key:
                self._dear[key] = sort
        while len(self._dear) > MAX_REMEMBERED:
            self._dear.popitem(last=False)

    def receipt(self) -> Receipt:
        """What was paid since the engine began. The first one may import a library of prices."""
        return self.pricing()()

    def pricing(self) -> Callable[[], Receipt]:
        """The function that prices what was billed by now. Another thread may call it while the engine goes on."""
        return partial(receipt_of, self.ledger.snapshot(), self.prices_at)

    def prices(self, account: Account) -> PriceList:
        """The prices at an account's provider."""
        return self.prices_at(*self._where(account))

    def prices_at(self, provider: str, base_url: str) -> PriceList:
        """The prices of a provider."""
        found = self._prices.get((provider, base_url))
        if found is None:
            profile = self._profiles.get(provider) or known_profile(provider)
            found = self._prices[provider, base_url] = PriceList(profile, base_url, self._given_prices)
        return found

    def _where(self, account: Account) -> tuple[str, str]:
        """The provider's name, and the base URL without a password."""
        url = self._urls.get(account.base_url)
        if url is None:
            if len(self._urls) >= MAX_URLS:
                self._urls.clear()
            url = self._urls[account.base_url] = without_credentials(account.base_url)
            self._profiles[account.provider.name] = account.provider
        return account.provider.name, url

    def left_lines(self, idempotency_key: str) -> dict[str, LeftLine]:
        """The lines of a batch that nobody waits for any more, by custom_id: one dict for all lives of the batch."""
        return self._left.setdefault(idempotency_key, {})

    def forget_lines(self, idempotency_key: str) -> None:
        """The batch is over."""
        self._left.pop(idempotency_key, None)
        if (earlier := self._earlier.pop(idempotency_key, None)) is not None:
            earlier.release()

    def reserved_earlier(self, idempotency_key: str, lines: int) -> Reservation | None:
        """What an earlier run reserved for one line of its batch; None if it did not."""
        earlier = self._earlier.get(idempotency_key)
        if earlier is None or earlier.amount is None:
            return None
        return earlier.take(earlier.whole / lines)
