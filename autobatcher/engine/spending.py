"""What one engine spends: what is admitted under its caps, and what is booked when it was billed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Self

from anyio import to_thread

from ..errors import BudgetExceededError
from ..money.batch_ledgers import BatchLedgers
from ..money.budget import Reservation
from ..money.calibration import Calibration
from ..money.exact import ZERO
from ..money.ledger import Charge, Entry, Fate, Ledger, Sort, bracket_of
from ..money.library_prices import import_prices, is_imported
from ..money.price_list import BATCH
from ..money.rates import Rates, UnknownPrice
from ..money.receipt import Receipt, priced, receipt_of
from ..money.service_tiers import billed_lane
from ..money.usage import Usage, usage_of
from ..upstream.account import Account
from . import checks, money_outcomes
from .booked_sorts import BookedSorts
from .caps import Caps, EarlierCost
from .journal.charges import Spent
from .journal_url import JournalUrl
from .known_prices import KnownPrices
from .left_line import LeftLine
from .most_cost import most_cost
from .request import Answer, Request
from .settings import Settings
from .unpriced_models import UnpricedModels

LEARN_FIRST, LEARN_EVERY = 500, 64
"""Of which answers the tokens are compared with the request: it takes some 50 microseconds each."""


class Spending:
    """The money of one engine.

    Args:
        wall_clock: returns Unix seconds.

    Attributes:
        ledger: what was billed since the engine began.
        batch_ledgers: the same for each of the newest batches.
        calibration: learns from answers how many tokens requests have.
        caps: limit it.
        prices: what it costs.
        sorts: what unusual answers were booked as.
    """

    def __init__(self, settings: Settings, wall_clock: Callable[[], float] = time.time) -> None:
        self.ledger: Ledger = Ledger()
        self.batch_ledgers: BatchLedgers = BatchLedgers()
        self.calibration: Calibration = Calibration()
        self._settings = settings
        self.caps: Caps = Caps(settings, wall_clock)
        self.prices: KnownPrices = KnownPrices(checks.prices(settings.prices))
        self._left: dict[str, dict[str, LeftLine]] = {}  # by idempotency keys and custom_ids
        self._pid = os.getpid()
        self._learned = 0
        self.sorts: BookedSorts = BookedSorts(settings.completion_window)
        self._unpriced = UnpricedModels()

    # ---- of earlier runs ----

    @property
    def counts_since(self) -> float:
        """When the longest of the periods began that the caps count for, in Unix seconds."""
        return self.caps.counts_since

    def load(self, spent: Spent) -> None:
        """Count what earlier runs spent, and what their batches may cost."""
        costs = (
            EarlierCost(account, hour, self.cost_in(sort, entry.usage) or ZERO)
            for (account, hour, sort), entry in spent.charges.items()
        )
        here = self._left_here()
        self.caps.load(costs, {key: amount for key, amount in spent.reserved.items() if key not in here})

    def _left_here(self) -> set[str]:
        """The batches of which lines are reserved here already, perhaps by an earlier engine of this process."""
        return {key for key, lines in self._left.items() if lines}

    @property
    def counted_here(self) -> frozenset[str]:
        """Those batches of other sessions of a shared journal whose reservation counts here."""
        return self.caps.taken_over | self._left_here()

    def take_over(self, idempotency_key: str, account: Account) -> None:
        """Count here what another session has reserved for a batch, which runs here from now on."""
        if not self._left.get(idempotency_key):
            self.caps.take_over(idempotency_key, account)

    def begun(self) -> Self:
        """An engine begins. In a fork of the process, what runs in the other one is not counted."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._left.clear()
            self.caps.forget_reservations()
        return self

    # ---- before ----

    @property
    def has_caps(self) -> bool:
        """Whether anything limits what is spent."""
        return bool(self.caps)

    @property
    def looks_up_prices(self) -> bool:
        """Whether a new request is admitted by its price."""
        return self.has_caps or self._settings.unknown_prices == "refuse"

    async def warm(self, *, is_needed: bool = False) -> None:
        """Import the library of prices in a worker thread, if calls are admitted by their price.

        Args:
            is_needed: whether prices are looked up in any case.
        """
        if (is_needed or self.looks_up_prices) and not is_imported():
            await to_thread.run_sync(import_prices)

    def reserve(self, request: Request) -> BudgetExceededError | None:
        """Reserve what a new request may cost; or return why it is refused. Then nothing was reserved."""
        if not self.looks_up_prices:
            return None
        most, unknown = self._most(request)
        if unknown is not None and self._settings.unknown_prices == "refuse":
            refusal = money_outcomes.unknown_price_error(request, unknown.reason)
            self._unpriced.tell_refusal(request, refusal)
            return refusal
        budgets = self.caps.budgets_of(request.account)
        for budget in budgets:
            if not budget.has_room(most or ZERO):
                return money_outcomes.budget_error(request, budget, most, setting=self.caps.name_of(budget))
        if unknown is not None and budgets:
            setting = self.caps.name_of(budgets[0])
            self._unpriced.tell(request, unknown, setting=setting, is_counted=most is not None)
        request.reservation = Reservation(budgets, most) if budgets else None
        return None

    def refuse_excess(self, request: Request) -> BudgetExceededError | None:
        """Take back what is reserved for a request that was not sent, and return why, if a cap is exceeded; else None.

        That happens when other engines of a shared journal reserve at the same moment.
        """
        for budget in self.caps.budgets_of(request.account):
            if not budget.has_room(ZERO):
                reservation = request.pop_reservation()
                if reservation is not None:
                    reservation.release()
                most = None if reservation is None else reservation.amount
                return money_outcomes.budget_error(request, budget, most, setting=self.caps.name_of(budget))
        return None

    def reserve_anyway(self, request: Request) -> Reservation | None:
        """Reserve what a request may cost that runs already, though it may be more than the caps leave."""
        if not self.has_caps:
            return None
        return Reservation(self.caps.budgets_of(request.account), self._most(request)[0])

    def _most(self, request: Request) -> tuple[Decimal | None, UnknownPrice | None]:
        usage = self.calibration.most(request.model, request.endpoint, request.body)
        return most_cost(request, usage, self.prices.of(request.account), self._settings)

    def most_usage(self, request: Request) -> Usage | None:
        """The tokens that a request may have at most; None if nothing is capped."""
        return self.calibration.most(request.model, request.endpoint, request.body) if self.has_caps else None

    # ---- after ----

    def sort_of(self, account: Account, model: str, endpoint: str, window: str, fate: Fate, bracket: int) -> Sort:
        """What an answer in a batch of this completion window is booked as."""
        return Sort(*self.prices.where(account), model, endpoint, BATCH, window, fate, bracket)

    def _call_charge(self, request: Request, answer: Answer) -> Charge | None:
        """What the answer to a call on another lane is booked as; None if it was not billed, since it is a failure."""
        if answer.status_code >= 300:
            return None
        usage = usage_of(answer.body)
        lane = billed_lane(answer.lane, request.body, answer.body)
        where = (*self.prices.where(request.account), request.model, request.endpoint, lane, "")
        sort = Sort(*where, Fate.DELIVERED, bracket_of(usage))
        self.sorts.remember(sort, answer)
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
        where = (*self.prices.where(account), model, endpoint, lane, completion_window)
        return Charge(Sort(*where, Fate.UNKNOWN, bracket_of(most)), most, batch_id)

    def book_call(self, request: Request, answer: Answer) -> Charge | None:
        """Count a call on another lane. Returns what a journal records."""
        charge = self._call_charge(request, answer)
        if charge is not None:
            self.book(charge, request.account, request.pop_reservation())
            self.learn(request, charge)
            charge = self.kept(request, charge)
        return charge

    def kept(self, request: Request, charge: Charge) -> Charge:
        """What a journal records of a charge. An answer that tells no tokens counts as the most that it may have,
        in the next run, too."""
        most = self.most_usage(request) if charge.usage is None else None
        if most is None:
            return charge
        return Charge(charge.sort._replace(fate=Fate.UNKNOWN, bracket=bracket_of(most)), most, charge.batch_id)

    def book_unknown_call(self, request: Request, lane: str) -> Charge:
        """Count a call that may have been executed. Returns what a journal records."""
        return self._book_unknown_call(request, lane, request.pop_reservation())

    def book_repeated_call(self, request: Request, lane: str) -> Charge:
        """The same for a call that is made again."""
        return self._book_unknown_call(request, lane, request.reservation and request.reservation.split())

    def book_earlier_call(self, request: Request, lane: str, idempotency_key: str) -> Charge:
        """The same for an equal call that ran when an earlier process died."""
        return self._book_unknown_call(request, lane, self.caps.take_earlier(idempotency_key, 1))

    def _book_unknown_call(self, request: Request, lane: str, reservation: Reservation | None) -> Charge:
        charge = self.unknown_charge(
            request.account,
            request.endpoint,
            request.model,
            self.most_usage(request),
            lane=billed_lane(lane, request.body),
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
        sort, usage, batch_id, requests = charge
        self.ledger.add(sort, usage, batch_id, requests)
        self.batch_ledgers.add(charge)
        if not self.caps:
            return
        cost = None if usage is None else self.cost_in(sort, usage)
        if reservation is not None:
            reservation.spend(cost)
        elif cost is not None:
            for budget in self.caps.budgets_of(account):
                budget.spend(cost)

    def cost_in(self, sort: Sort, usage: Usage) -> Decimal | None:
        """What one request of a sort cost, with these tokens; at most, if nobody knows whether it was executed."""
        rates = self.rates_of(sort)
        return None if rates is None else priced(rates, sort, usage)

    def rates_of(self, sort: Sort) -> Rates | None:
        """The prices of a sort. The first call may import a library, unless `warm` did."""
        return self.prices.at(sort.provider, sort.base_url).rates(
            sort.model, lane=sort.lane, completion_window=sort.completion_window or None, endpoint=sort.endpoint
        )

    def cost_of(self, body: bytes, request_id: str | None) -> Decimal | None:
        """What one answer was billed; None if its price or its tokens are unknown."""
        found = self.sorts.of_body(body, request_id, self.ledger)
        return None if found is None else self.cost_in(*found)

    def billed(self, request: Request, answer: Answer) -> tuple[Sort, Usage] | None:
        """What the answer to a request was booked as; None if it does not tell its tokens. See `cost_in`."""
        usage = usage_of(answer.body)
        if usage is None:
            return None
        window = self._settings.completion_window if answer.lane == BATCH else ""
        lane = billed_lane(answer.lane, request.body, answer.body)
        where = (*self.prices.where(request.account), request.model, request.endpoint, lane, window)
        return self.sorts.of_request(answer.request_id) or Sort(*where, Fate.DELIVERED, bracket_of(usage)), usage

    def receipt(self) -> Receipt:
        """What was paid since the engine began. The first one may import a library of prices."""
        return self.pricing()()

    @property
    def shared_journal(self) -> JournalUrl | None:
        """Where the journal is, if other engines use it meanwhile."""
        journal = self._settings.journal
        return journal if isinstance(journal, JournalUrl) else None

    def pricing(self) -> Callable[[], Receipt]:
        """The function that prices what was billed by now. Another thread may call it while the engine goes on."""
        return partial(receipt_of, [*self.ledger.snapshot(), *self._open_lines()], self.prices.at)

    def _open_lines(self) -> Iterator[tuple[Sort, Entry]]:
        """Lines of which nobody knows yet whether they were executed. For any thread."""
        for lines in tuple(self._left.values()):
            for line in tuple(lines.values()):
                sort, usage, batch_id, _ = line.unknown
                entry = Entry()
                entry.add(usage, batch_id)
                yield sort, entry

    def left_lines(self, idempotency_key: str) -> dict[str, LeftLine]:
        """The lines of a batch that nobody waits for any more, by custom_id: one dict for all lives of the batch."""
        return self._left.setdefault(idempotency_key, {})

    def forget_lines(self, idempotency_key: str) -> None:
        """The batch is over."""
        self._left.pop(idempotency_key, None)
        self.caps.release_earlier(idempotency_key)

    def reserved_earlier(self, idempotency_key: str, lines: int) -> Reservation | None:
        """What an earlier run reserved for one line of its batch; None if it did not."""
        return self.caps.take_earlier(idempotency_key, lines)
