"""What Doubleword states of a batch in its analytics counts where the answers of the batch do not tell."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anyio
import pytest

from autobatcher.emulator import FaultPlan, HttpFault, LineFault
from autobatcher.money.rates import Rates
from autobatcher.money.statement import beyond_answers
from autobatcher.money.usage import Usage
from autobatcher.upstream.batch_analytics import tokens_in
from autobatcher.upstream.batch_state import BatchTokens
from tests.harness import Harness, Send, ask, between, open_harness, outcome_of
from tests.receipts import BILLED_PRICES, GIVEN_PRICES, check_receipt

LOST = LineFault(kind="drop", lines=(2,), billed=True)


class Asked:
    """Counts the calls for analytics."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, request: Any, send: Send) -> Any:
        self.count += request.url.path.endswith("/analytics")
        return await send(request)


async def ask_three(harness: Harness, **settings: Any) -> tuple[Any, list[Any], int]:
    """The receipt, what the callers got, and how often analytics were asked for."""
    asked, outcomes = Asked(), dict[int, Any]()
    client = harness.client(prices=GIVEN_PRICES, http_client=between(harness, asked), **settings)

    async def one(number: int) -> None:
        outcomes[number] = await outcome_of(ask(client, f"question {number} of several words"))

    async with client, anyio.create_task_group() as nursery:
        for number in range(3):
            nursery.start_soon(one, number)
    return client.receipt(), [outcomes[number] for number in range(3)], asked.count


@pytest.mark.proves("faults", "a line was billed, and its answer is lost, where the provider states what a batch cost")
@pytest.mark.parametrize("cached_share", [0.0, 0.25])
async def test_a_line_that_is_paid_and_missing_costs_what_the_analytics_state(cached_share: float) -> None:
    faults = FaultPlan((LOST,))
    async with open_harness("doubleword", prices=BILLED_PRICES, faults=faults, cached_share=cached_share) as harness:
        receipt, _, asked = await ask_three(harness)
        assert (asked, receipt.total.uncertain) == (1, 0)
        assert [row.fate for row in receipt.rows if row.fate != "delivered"] == ["stated"]
        assert receipt.total.cost == harness.emulator.bill().total
        check_receipt(receipt, harness.emulator)


async def test_a_batch_whose_files_are_gone_costs_what_its_analytics_state() -> None:
    gone = FaultPlan((HttpFault(operation="files.content", status=403),))
    async with open_harness("doubleword", prices=BILLED_PRICES, faults=gone) as harness:
        receipt, _, asked = await ask_three(harness)
        assert (asked, receipt.total.uncertain) == (1, 0)
        assert receipt.total.cost == harness.emulator.bill().total > 0


@pytest.mark.proves("faults", "a line was billed, and its answer is lost, where the provider states what a batch cost")
@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 404}, {"status": 200, "body": "<html>"}, {"delay_seconds": 1e6}], ids=str
)
async def test_analytics_that_fail_disturb_nobody_and_leave_the_line_uncertain(fault: dict[str, Any]) -> None:
    faults = FaultPlan((LOST, HttpFault(operation="batches.analytics", **fault)))
    async with open_harness("doubleword", prices=BILLED_PRICES, faults=faults) as harness:
        receipt, outcomes, asked = await ask_three(harness)
        assert sorted(isinstance(outcome, Exception) for outcome in outcomes) == [False, False, True]
        assert (asked, receipt.total.uncertain) == (1, 1)
        check_receipt(receipt, harness.emulator)


async def test_nothing_is_asked_where_the_answers_tell_everything_or_there_are_no_analytics() -> None:
    async with open_harness("doubleword", prices=BILLED_PRICES) as harness:
        assert (await ask_three(harness))[2] == 0
    async with open_harness("openai", prices=BILLED_PRICES, faults=FaultPlan((LOST,))) as harness:
        assert (await ask_three(harness))[2] == 0


SAID = {"total_requests": 3, "total_prompt_tokens": 50, "total_completion_tokens": 20, "total_cost": "0.75"}


@pytest.mark.parametrize(
    ("analytics", "completed", "tokens"),
    [
        (SAID, 3, BatchTokens(50, None, 20, None, cost=Decimal("0.75"))),
        ({**SAID, "total_reasoning_tokens": 4, "total_cost": "much"}, 3, BatchTokens(50, None, 20, 4)),
        ({**SAID, "total_cost": "NaN"}, 3, BatchTokens(50, None, 20, None)),
        ({**SAID, "total_cost": "1e999999999"}, 3, BatchTokens(50, None, 20, None)),
        (SAID, 4, None),  # not all lines are added up yet
        (SAID, None, None),
        ({}, 0, None),
        ({**SAID, "total_prompt_tokens": "50"}, 3, None),
        ([], 0, None),
    ],
)
def test_analytics_are_read_if_they_are_those_of_the_whole_batch(
    analytics: Any, completed: int | None, tokens: BatchTokens | None
) -> None:
    assert tokens_in(analytics, completed) == tokens


def stated(cost: str | None) -> BatchTokens:
    return BatchTokens(100, None, 20, None, cost=None if cost is None else Decimal(cost))


@pytest.mark.parametrize(
    ("cost", "cached"),
    [
        ("0.00012", 0),
        ("0.000075", 50),
        ("0.00007501", None),  # no number of tokens explains it: other prices than ours
        ("0.00013", None),
        ("0.000001", None),
        (None, None),
    ],
)
def test_what_came_from_the_cache_follows_from_the_cost_or_nothing_does(cost: str | None, cached: int | None) -> None:
    rates, told = Rates(Decimal(1), Decimal(1), Decimal("0.1")), Usage(40, 0, 10)
    beyond = None if cached is None else Usage(60, cached, 10)
    assert beyond_answers(stated(cost), told, rates) == beyond


def test_where_the_cache_has_no_price_of_its_own_the_tokens_are_enough() -> None:
    assert beyond_answers(stated(None), Usage(40, 0, 10), Rates(Decimal(1), Decimal(1))) == Usage(60, 0, 10)
    assert beyond_answers(stated(None), Usage(40, 0, 10), None) == Usage(60, 0, 10)
