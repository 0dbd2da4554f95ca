"""Caps that count across restarts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anyio
import pytest

from autobatcher import BudgetExceededError
from tests.harness import open_harness, outcome_of, wait_for_event
from tests.journal.restarts import Restarts
from tests.receipts import BILLED_PRICES, GIVEN_PRICES, check_receipt


async def _ask(client: Any, text: str) -> Any:
    messages = [{"role": "user", "content": text}]
    return await client.chat.completions.create(model="m", messages=messages, max_tokens=1)


@pytest.mark.proves("faults", "calls may cost more than max_cost leaves")
async def test_a_cap_counts_across_restarts_and_not_for_other_budgets(restarts: Restarts) -> None:
    async with open_harness(prices=BILLED_PRICES, batch_seconds=5) as harness:
        settings: dict[str, Any] = {"prices": GIVEN_PRICES, "max_cost": "0.0002"}
        answered = 0
        for number in range(8):
            async with restarts.program(harness, **settings) as program:
                outcome = await outcome_of(_ask(program.client, f"question {number}"))
                answered += not isinstance(outcome, BudgetExceededError)
            restarts.end_well()
        assert 0 < answered < 8
        assert harness.emulator.bill().total <= Decimal("0.0002")
        async with restarts.program(harness, **settings, budget="another") as program:
            assert await _ask(program.client, "question of another budget")


@pytest.mark.proves("faults", "calls may cost more than max_cost leaves")
async def test_what_a_killed_program_reserved_counts_until_its_batch_is_over(restarts: Restarts) -> None:
    async with open_harness(prices=BILLED_PRICES, batch_seconds=500) as harness:
        settings: dict[str, Any] = {"prices": GIVEN_PRICES, "max_cost": "0.0003"}
        async with restarts.program(harness, **settings) as program, anyio.create_task_group() as nursery:
            nursery.start_soon(outcome_of, _ask(program.client, "first"))
            await wait_for_event(harness, "batch_submitted")
            program.die()
        async with restarts.program(harness, **settings) as program:
            assert isinstance(await outcome_of(_ask(program.client, "second")), BudgetExceededError)
            await _ask(program.client, "first")
            await _ask(program.client, "second")
        check_receipt(restarts.receipt(), harness.emulator)
