"""Receipts and caps where it is easy to be wrong: windows, tiers, repetitions, periods, contexts of `decimal`."""

from __future__ import annotations

import decimal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, cast

import anyio
import pytest

from autobatcher import BudgetExceededError
from autobatcher.emulator import BatchFault, FaultPlan, HttpFault, LineFault
from autobatcher.engine.answer_room import AnswerRoom
from autobatcher.engine.dispatch.lane_try import LaneTry
from autobatcher.engine.journal.charges import HOUR, Spent
from autobatcher.engine.journal.identity import fingerprint
from autobatcher.engine.lanes.durations import Durations
from autobatcher.engine.lanes.lane import Lane
from autobatcher.engine.lanes.terms import Terms
from autobatcher.engine.left_line import LeftLine
from autobatcher.engine.recovery.call_log import NULL_CALL_LOG
from autobatcher.engine.request import Request
from autobatcher.engine.settings import Settings
from autobatcher.engine.spending import Spending
from autobatcher.money.budget import Budget, Reservation
from autobatcher.money.ledger import Charge, Entry, Fate, Sort
from autobatcher.money.usage import Usage
from autobatcher.upstream.account import Account
from autobatcher.upstream.failures import UpstreamError
from autobatcher.upstream.providers import profile_named
from tests.harness import open_harness, outcome_of
from tests.receipts import (
    BILLED_PRICES,
    GIVEN_PRICES,
    WORDY_BILLED_PRICES,
    WORDY_GIVEN_PRICES,
    ask_briefly,
    check_receipt,
)

CHAT = "/v1/chat/completions"
AN_HOUR_AGO = 1_700_000_000.0
NOW = AN_HOUR_AGO + HOUR


def _account(provider: str = "openai", key: str = "k") -> Account:
    return Account(base_url="http://upstream.test/v1", api_key=key, provider=profile_named(provider))


def _request(provider: str = "openai", **terms: Any) -> Request:
    request = Request(account=_account(provider), endpoint=CHAT, body=b'{"max_tokens":1}', model="m")
    request.terms = Terms(**terms)
    return request


def _reserved(request: Request, **settings: Any) -> Decimal:
    spending = Spending(Settings(prices=GIVEN_PRICES, max_cost=1, **settings))
    assert spending.reserve(request) is None
    assert request.reservation is not None
    return request.reservation.whole


def _budget(client: Any) -> Budget:
    return cast("Budget", client._spending.caps.budget)


# ---- what may be billed is reserved ----


def _most(request: Request, rates: dict[str, str]) -> Decimal:
    read = len(request.body) + 256
    return (read * Decimal(rates["input"]) + Decimal(rates["output"])) / 1_000_000


def test_a_deadline_may_choose_the_dearer_completion_window() -> None:
    request = _request("doubleword", deadline=1.0)
    assert _reserved(request) == _most(request, GIVEN_PRICES["*"]["1h"])
    request = _request("doubleword", deadline=1.0)
    assert _reserved(request, completion_window="24h") == _most(request, GIVEN_PRICES["*"]["batch"])


def test_a_flex_call_may_be_billed_in_real_time() -> None:
    request = _request(lanes=(Lane.FLEX,))
    assert _reserved(request) == _most(request, GIVEN_PRICES["*"])


def test_a_lane_that_the_provider_has_not_makes_no_price_unknown() -> None:
    """Else a deadline, for which flex is allowed by default, would lift the cap."""
    request = _request("groq", lanes=(Lane.BATCH, Lane.FLEX), deadline=1.0)
    prices = {"*": {**GIVEN_PRICES["*"]}}
    del prices["*"]["flex"]
    spending = Spending(Settings(prices=prices, max_cost="0.00001"))
    assert spending.reserve(request) is not None


@pytest.mark.full_price
async def test_who_would_rather_pay_twice_does_not_pay_three_times() -> None:
    faults = (
        BatchFault(nth=(1,), ends="stuck", after=1.0),
        HttpFault(operation="batches.cancel", status=500),
        HttpFault(operation="batches.retrieve", status=500),
        HttpFault(operation="realtime", nth=(1,), lose_answer=True),
    )
    settings: dict[str, Any] = {"lanes": ("batch", "realtime"), "on_overrun": "pay_twice", "deadline": "3h"}
    async with open_harness(
        has_lanes=True, prices=BILLED_PRICES, batch_seconds=20, faults=FaultPlan(faults)
    ) as harness:
        async with harness.client(prices=GIVEN_PRICES, max_cost="1", **settings) as client:
            await outcome_of(ask_briefly(client, "x"))
        assert harness.emulator.bill().requests == 2
        check_receipt(client.receipt(), harness.emulator)


# ---- what is sent again, although it may have been billed ----

LOST = FaultPlan((LineFault(kind="drop", billed=True, batches=(1,)),))
"""Executed, counted as done, and in neither file."""


async def test_a_lost_line_that_is_sent_again_is_told_as_perhaps_paid_twice() -> None:
    async with open_harness("groq", prices=WORDY_BILLED_PRICES, faults=LOST) as harness:
        async with harness.client(prices=WORDY_GIVEN_PRICES, missing_lines="resubmit", max_cost=1) as client:
            await ask_briefly(client, "x")
        assert client.receipt().total.uncertain == 1
        assert _budget(client).spent >= harness.emulator.bill().total
        assert _budget(client).reserved == 0
        check_receipt(client.receipt(), harness.emulator)


async def test_a_lost_line_is_not_sent_again_where_a_cap_has_no_room_for_that() -> None:
    async with open_harness(prices=WORDY_BILLED_PRICES, faults=LOST) as harness:
        settings: dict[str, Any] = {"missing_lines": "resubmit", "max_cost": "0.01"}
        async with harness.client(prices=WORDY_GIVEN_PRICES, **settings) as client:
            assert isinstance(await outcome_of(ask_briefly(client, "x")), Exception)
        assert harness.emulator.bill().requests == 1
        assert harness.emulator.bill().total <= Decimal("0.01")


async def test_a_caller_who_leaves_when_his_call_fails_is_booked_once() -> None:
    spending = Spending(Settings(prices=GIVEN_PRICES, max_cost=1))
    request = _request(lanes=(Lane.REALTIME,))
    assert spending.reserve(request) is None

    class API:
        async def post(self, *_: object, **__: object) -> object:
            tries.left(request)
            raise UpstreamError("it was cut off", was_sent=True)

    tries = LaneTry(cast("Any", API()), Durations(), AnswerRoom(10_000, isolates=False), spending)
    with pytest.raises(UpstreamError):
        await tries.run(request, Lane.REALTIME, NULL_CALL_LOG, cut_at=1e9, repeats=False)
    assert spending.receipt().total.uncertain == 1


# ---- periods and accounts ----


@contextmanager
def _spending(**settings: Any) -> Iterator[tuple[Spending, list[float]]]:
    """One that knows of a dollar that was spent an hour ago."""
    now = [NOW]
    spending = Spending(Settings(prices={"*": {"input": 1, "output": 1}}, **settings), lambda: now[0])
    sort = Sort("openai", "http://upstream.test/v1", "m", CHAT, "realtime", "", Fate.DELIVERED)
    charged = {(fingerprint(_account()), int(AN_HOUR_AGO // HOUR), sort): Entry(1, Usage(1_000_000))}
    spending.load(Spent(charged, {}))
    yield spending, now


def test_each_cap_counts_its_own_period() -> None:
    with _spending(max_cost="1/hour", max_cost_per_account="1/month") as (spending, _):
        whole, of_account = spending.caps.budgets_of(_account())
        assert [whole.spent, of_account.spent] == [0, 1]
    with _spending(max_cost="1/month", max_cost_per_account="1/hour") as (spending, _):
        whole, of_account = spending.caps.budgets_of(_account())
        assert [whole.spent, of_account.spent] == [1, 0]


def test_what_an_account_spent_is_forgotten_with_its_period_though_it_comes_later() -> None:
    with _spending(max_cost_per_account="1/day") as (spending, now):
        assert [each.spent for each in spending.caps.budgets_of(_account())] == [1]
    with _spending(max_cost_per_account="1/day") as (spending, now):
        now[0] += 86_400
        assert [each.spent for each in spending.caps.budgets_of(_account())] == [0]


def test_many_accounts_that_spend_take_no_more_time_each() -> None:
    spending = Spending(Settings(max_cost_per_account=1))

    def spend(first: int, count: int) -> float:
        begun = time.process_time()
        for number in range(first, first + count):
            spending.caps.budgets_of(_account(key=str(number)))[0].spend(Decimal("0.01"))
        return (time.process_time() - begun) / count

    few = spend(0, 2_000)
    assert spend(2_000, 18_000) < 10 * few


def test_a_second_engine_of_a_client_does_not_reserve_again_what_the_first_one_left() -> None:
    spending = Spending(Settings(prices=GIVEN_PRICES, max_cost=1))
    budgets = spending.caps.budgets_of(_account())
    sort = Sort("openai", "", "m", CHAT, "batch", "24h", Fate.UNKNOWN)
    left = LeftLine("m", Reservation(budgets, Decimal("0.1")), Fate.DISCARDED, Charge(sort, None, ""))
    spending.left_lines("its key")["line"] = left
    spending.load(Spent({}, {"its key": Decimal("0.1"), "of another run": Decimal("0.2")}))
    assert budgets[0].reserved == Decimal("0.3")


def test_a_fork_does_not_count_what_runs_in_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    spending = Spending(Settings(prices=GIVEN_PRICES, max_cost=1, max_cost_per_account=1))
    request = _request()
    assert spending.reserve(request) is None
    monkeypatch.setattr("os.getpid", lambda: -1)
    spending.begun()
    assert [each.reserved for each in spending.caps.budgets_of(request.account)] == [0, 0]
    amounts = {"spent": Decimal(0), "reserved": Decimal(0), "asked": None, "cap": None}
    request.settle(BudgetExceededError("x", advice="y", setting="max_cost", **amounts))  # type: ignore[arg-type]
    assert [each.reserved for each in spending.caps.budgets_of(request.account)] == [0, 0]


# ---- numbers ----


async def test_sums_are_exact_whatever_a_program_has_set_for_decimals() -> None:
    coarse = decimal.Context(prec=2, traps=[decimal.Inexact, decimal.Rounded, decimal.InvalidOperation])
    async with open_harness(prices=BILLED_PRICES) as harness:
        with decimal.localcontext(coarse):
            async with harness.client(prices=GIVEN_PRICES, max_cost="0.0123") as client:
                async with anyio.create_task_group() as nursery:
                    for number in range(7):
                        nursery.start_soon(ask_briefly, client, "word " * number)
                assert isinstance(await outcome_of(ask_briefly(client, "x" * 100_000)), BudgetExceededError)
            receipt = client.receipt()
            receipt.as_dict(), receipt.total.saving, str(receipt)
            assert _budget(client).reserved == 0
            check_receipt(receipt, harness.emulator)


async def test_the_cost_of_an_answer_is_that_of_its_own_length() -> None:
    """Providers charge more for all tokens of a long request."""
    spending = Spending(Settings())
    sort = Sort("openai", "https://api.openai.com/v1", "gpt-5.4", CHAT, "batch", "24h", Fate.DELIVERED)
    spending.ledger.add(sort._replace(bracket=300), Usage(300_000, 0, 1))
    rates = spending.prices.at(sort.provider, sort.base_url).rates(
        sort.model, lane="batch", completion_window="24h", endpoint=CHAT
    )
    assert rates is not None
    assert rates.tiers
    assert spending.cost_of(_answer("gpt-5.4-2026-03-05"), None) == rates.cost(Usage(1_000, 0, 1))


async def test_the_cost_of_an_answer_is_not_that_of_a_model_whose_name_begins_alike() -> None:
    spending = Spending(Settings(prices=GIVEN_PRICES))
    sort = Sort("openai", "https://api.openai.com/v1", "gpt-4o", CHAT, "batch", "24h", Fate.DELIVERED)
    spending.ledger.add(sort, Usage(1))
    assert spending.cost_of(_answer("gpt-4o-mini-2024-07-18"), None) is None
    assert spending.cost_of(_answer("gpt-4o-2024-08-06"), None) is not None


def _answer(model: str) -> bytes:
    return b'{"model": "%s", "usage": {"prompt_tokens": 1000, "completion_tokens": 1}}' % model.encode()
