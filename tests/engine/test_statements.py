"""What a provider states of a whole batch counts where its answers do not tell."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from autobatcher.emulator import BatchFault, FaultPlan, HttpFault, LineFault
from autobatcher.upstream.batch_state import BatchTokens, parse_batch
from tests.harness import ask, open_harness, outcome_of
from tests.receipts import BILLED_PRICES, GIVEN_PRICES, check_receipt


async def test_a_line_that_is_paid_and_missing_costs_what_the_batch_states() -> None:
    lost = FaultPlan((LineFault(kind="drop", lines=(2,), billed=True),))
    async with open_harness("openai", prices=BILLED_PRICES, faults=lost) as harness:
        async with harness.client(prices=GIVEN_PRICES) as client, anyio.create_task_group() as nursery:
            for number in range(3):
                nursery.start_soon(outcome_of, ask(client, f"q{number}"))
        receipt = client.receipt()
        assert receipt.total.uncertain == 0
        assert receipt.total.cost == harness.emulator.bill().total
        assert [row.fate for row in receipt.rows if row.fate != "delivered"] == ["stated"]


async def test_a_batch_whose_files_are_gone_costs_what_it_states() -> None:
    gone = FaultPlan((HttpFault(operation="files.content", status=403),))
    async with open_harness("openai", prices=BILLED_PRICES, faults=gone) as harness:
        async with harness.client(prices=GIVEN_PRICES, max_cost=1) as client:
            assert isinstance(await outcome_of(ask(client, "x")), Exception)
            await anyio.sleep(1)
        receipt = client.receipt()
        assert receipt.total.cost == harness.emulator.bill().total > 0
        check_receipt(receipt, harness.emulator)


async def test_where_nothing_more_is_stated_nothing_is_uncertain() -> None:
    cut = FaultPlan((BatchFault(ends="expired", after=0.5, hide_counts=True, list_unfinished=False),))
    async with open_harness("openai", prices=BILLED_PRICES, faults=cut) as harness:
        async with harness.client(prices=GIVEN_PRICES, max_retries=0) as client, anyio.create_task_group() as nursery:
            for number in range(4):
                nursery.start_soon(outcome_of, ask(client, f"q{number}"))
        assert client.receipt().total.uncertain == 0
        check_receipt(client.receipt(), harness.emulator)


async def test_a_statement_that_says_less_than_the_answers_is_not_believed() -> None:
    nothing = {"input_tokens": 0, "output_tokens": 0}
    early = FaultPlan((LineFault(kind="drop", lines=(2,), billed=True), BatchFault(members={"usage": nothing})))
    async with open_harness("openai", prices=BILLED_PRICES, faults=early) as harness:
        async with harness.client(prices=GIVEN_PRICES) as client, anyio.create_task_group() as nursery:
            for number in range(3):
                nursery.start_soon(outcome_of, ask(client, f"q{number}"))
        assert client.receipt().total.uncertain == 1
        check_receipt(client.receipt(), harness.emulator)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"input_tokens": 5, "output_tokens": 2}, BatchTokens(5, 0, 2, 0)),
        (
            {
                "input_tokens": 5,
                "input_tokens_details": {"cached_tokens": 3},
                "output_tokens": 2,
                "output_tokens_details": {"reasoning_tokens": 1},
            },
            BatchTokens(5, 3, 2, 1),
        ),
        *((odd, None) for odd in (None, 5, {}, {"input_tokens": -1, "output_tokens": 2}, {"input_tokens": True})),
    ],
)
def test_the_statement_of_a_batch_is_read_if_it_is_one(usage: Any, tokens: BatchTokens | None) -> None:
    state = parse_batch({"id": "b", "status": "completed", "usage": usage})
    assert state is not None
    assert state.tokens == tokens
