"""A service tier that costs something else is not billed as plain real time. The tier that an answer names counts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from autobatcher import BatchOpenAI, BudgetExceededError
from autobatcher.emulator import FaultPlan, HttpFault
from autobatcher.money.receipt import ReceiptRow
from autobatcher.money.service_tiers import OTHER_TIER, billed_lane
from tests.harness import Harness, open_harness, outcome_of
from tests.journal.conftest import restarts as restarts
from tests.journal.restarts import Restarts
from tests.receipts import BILLED_PRICES, GIVEN_PRICES, check_receipt

pytestmark = pytest.mark.full_price

PRIORITY = {"input": "2.74", "output": "8.38"}


async def ask(client: BatchOpenAI, **arguments: Any) -> Any:
    messages: Any = [{"role": "user", "content": "a question of some length"}]
    return await client.chat.completions.create(model="m", messages=messages, max_tokens=5, **arguments)


async def row_of(harness: Harness, prices: dict[str, Any], **arguments: Any) -> ReceiptRow:
    """What one call in real time is booked as."""
    async with harness.client(prices=prices, lanes=("realtime",), max_cost=1) as client:
        answer = await ask(client, **arguments)
    (row,) = client.receipt().rows
    assert client.cost_of(answer) == row.cost
    return row


@pytest.mark.proves("faults", "a call asks for a service tier of another price, or its answer names one")
async def test_priority_has_no_price_unless_one_is_given() -> None:
    async with open_harness(has_lanes=True, prices=BILLED_PRICES) as harness:
        row = await row_of(harness, GIVEN_PRICES, service_tier="priority")
        assert (row.lane, row.cost, row.unpriced) == ("priority", None, 1)
        given = {"*": {**GIVEN_PRICES["*"], "priority": PRIORITY}}
        row = await row_of(harness, given, service_tier="priority")
        assert row.cost == (row.tokens.input * 274 + row.tokens.output * 838) * Decimal("1e-8")
        async with harness.client(prices=GIVEN_PRICES, lanes=("realtime",), unknown_prices="refuse") as client:
            assert isinstance(await outcome_of(ask(client, service_tier="priority")), BudgetExceededError)


@pytest.mark.proves("faults", "a call asks for a service tier of another price, or its answer names one")
async def test_the_tier_that_the_answer_names_is_what_counts() -> None:
    dear = FaultPlan((HttpFault(operation="realtime", service_tier="priority"),))
    async with open_harness(has_lanes=True, prices=BILLED_PRICES, faults=dear) as harness:
        row = await row_of(harness, GIVEN_PRICES)
        assert (row.lane, row.cost) == ("priority", None)
    plain = FaultPlan((HttpFault(operation="realtime", service_tier="default"),))
    async with open_harness(has_lanes=True, prices=BILLED_PRICES, faults=plain) as harness:
        row = await row_of(harness, GIVEN_PRICES, service_tier="priority")
        assert (row.lane, row.cost) == ("realtime", harness.emulator.bill().total)


async def test_flex_that_a_body_asks_for_on_the_real_time_lane_is_billed_as_flex() -> None:
    async with open_harness(has_lanes=True, prices=BILLED_PRICES) as harness:
        async with harness.client(prices=GIVEN_PRICES, lanes=("realtime",), max_cost=1) as client:
            await ask(client, service_tier="flex")
        assert [row.lane for row in client.receipt().rows] == ["flex"]
        check_receipt(client.receipt(), harness.emulator)


async def test_a_journal_that_has_a_tier_is_opened_again(restarts: Restarts) -> None:
    async with open_harness(has_lanes=True) as harness:
        for _ in range(2):
            async with restarts.program(harness, prices=GIVEN_PRICES, lanes=("realtime",)) as program:
                await ask(program.client, service_tier="priority")
        assert {row.lane for row in restarts.receipt().rows} == {"priority"}


async def test_an_estimate_of_priority_says_that_its_price_is_unknown() -> None:
    async with open_harness() as harness, harness.client(prices=GIVEN_PRICES, lanes=("realtime",)) as client:
        asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        estimate = await client.estimate(**asked, service_tier="priority")
        assert (estimate.cost, bool(estimate.unknown)) == (None, True)
        assert (await client.estimate(**asked)).cost is not None


@pytest.mark.parametrize(
    ("asked", "answered", "lane"),
    [
        (b'{"service_tier": "auto"}', b"{}", "realtime"),
        (b"{}", b'{"service_tier": null}', "realtime"),
        (b'{"service_tier": "Priority"}', b'{"service_tier": 5}', "priority"),
        (b"{}", b'{"x": "\xed\xa0\x80", "service_tier": "priority"}', "priority"),
        (b"{}", b'{"x": "' + b"a" * 5_000_000 + b'", "service_tier": "priority"}', "priority"),
        (b"{}", b'{"service_tier": "batch"}', OTHER_TIER),
        (b'{"service_tier": "<script>"}', b"", OTHER_TIER),
    ],
)
def test_a_tier_is_read_whatever_is_around_it(asked: bytes, answered: bytes, lane: str) -> None:
    assert billed_lane("realtime", asked, answered) == lane
    assert billed_lane("batch", asked, answered) == "batch"
