"""Tokens that a provider writes into its cache, and takes more for, are counted and priced to the last digit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anyio
import msgspec
import pytest

from autobatcher import BudgetExceededError
from autobatcher.emulator import FaultPlan, LineFault, Price, PriceList
from autobatcher.money.price_list import PriceList as KnownPrices
from autobatcher.money.rates import Rates
from autobatcher.money.usage import Usage, usage_of
from autobatcher.upstream.providers import profile_named
from tests.harness import open_harness, outcome_of
from tests.journal.conftest import restarts as restarts
from tests.journal.restarts import Restarts
from tests.receipts import ask_briefly, check_receipt

RATES = {"input": "0.53", "cached": "0.17", "output": "2.03", "cache_write": "0.67"}
GIVEN: dict[str, Any] = {"*": {**RATES, "batch": RATES}}
BILLED = PriceList(
    (Price(input=Decimal("0.53"), cached=Decimal("0.17"), output=Decimal("2.03"), cache_write=Decimal("0.67")),)
)
LONG = "a prompt that is long enough for its tokens to have shares " * 5


@pytest.mark.proves("faults", "a provider writes prompts into its cache, and takes more for that than for other input")
async def test_a_receipt_with_cache_writes_is_the_bill_also_over_a_restart(restarts: Restarts) -> None:
    async with open_harness(prices=BILLED, cached_share=0.25, cache_write_share=0.5) as harness:
        async with restarts.program(harness, prices=GIVEN) as program, anyio.create_task_group() as nursery:
            for number in range(3):
                nursery.start_soon(ask_briefly, program.client, f"{number} {LONG}")
        receipt = program.client.receipt()
        assert receipt.total.tokens.cache_write == harness.emulator.bill().usage.cache_write > 0
        check_receipt(receipt, harness.emulator)
        check_receipt(restarts.receipt(GIVEN), harness.emulator)
        settings: dict[str, Any] = {"prices": GIVEN, "max_cost": harness.emulator.bill().total}
        async with restarts.program(harness, **settings) as program:
            assert isinstance(await outcome_of(ask_briefly(program.client, "more")), BudgetExceededError)


async def test_a_cap_counts_on_a_prompt_that_is_written_as_a_whole() -> None:
    async with open_harness(prices=BILLED, cache_write_share=1.0) as harness:
        async with harness.client(prices=GIVEN, max_cost="0.001") as client, anyio.create_task_group() as nursery:
            for number in range(20):
                nursery.start_soon(outcome_of, ask_briefly(client, f"{number} {LONG}"))
        assert 0 < harness.emulator.bill().total <= Decimal("0.001")
        check_receipt(client.receipt(), harness.emulator)


async def test_a_statement_that_does_not_name_cache_writes_is_not_believed_where_they_have_a_price() -> None:
    lost = FaultPlan((LineFault(kind="drop", lines=(2,), billed=True),))
    async with open_harness("openai", prices=BILLED, faults=lost, cache_write_share=0.5) as harness:
        async with harness.client(prices=GIVEN, max_cost=1) as client, anyio.create_task_group() as nursery:
            for number in range(3):
                nursery.start_soon(outcome_of, ask_briefly(client, f"{number} {LONG}"))
        receipt = client.receipt()
        assert receipt.total.uncertain == 1
        check_receipt(receipt, harness.emulator)
        most = sum(row.cost or 0 for row in receipt.rows)
        assert most >= harness.emulator.bill().total


@pytest.mark.parametrize(
    ("details", "usage"),
    [
        ({"cache_write_tokens": 7}, Usage(10, 0, 5, 0, 7)),
        ({"cached_tokens": 6, "cache_write_tokens": 7}, Usage(10, 6, 5, 0, 4)),
        ({"cache_write_tokens": -1}, Usage(10, 0, 5)),
        ({"cache_write_tokens": 7, "cache_write_tokens_details": {"ttl_30m_tokens": 7}}, Usage(10, 0, 5, 0, 7)),
        ({"cache_write_tokens": 7, "cache_write_tokens_details": {"ttl_12h_tokens": 7}}, None),
    ],
)
def test_cache_writes_are_read_from_an_answer(details: dict[str, Any], usage: Usage | None) -> None:
    said = {"input_tokens": 10, "output_tokens": 5, "input_tokens_details": details}
    assert usage_of(msgspec.json.encode({"usage": said})) == usage


def test_the_most_that_tokens_may_cost_is_that_of_the_dearer_way() -> None:
    one, usage = Decimal(1), Usage(1_000_000)
    assert Rates(one, one, cache_write=Decimal("1.25")).most(usage) == Decimal("1.25")
    assert Rates(one, one, cache_write=Decimal("0.25")).most(usage) == 1


def test_the_library_says_what_openai_takes_for_them() -> None:
    prices = KnownPrices(profile_named("openai"), "https://api.openai.com/v1", None)
    for lane in ("batch", "realtime"):
        rates = prices.rates("gpt-5.6-sol", lane=lane, completion_window="24h", endpoint="/v1/responses")
        assert rates is not None
        assert rates.cache_write == rates.input * Decimal("1.25")
        assert rates.tiers[0].cache_write == rates.tiers[0].input * Decimal("1.25")
