"""A journal that cannot be written any more forgets what was spent; a cap holds all the same."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from typing import Any

import anyio
import pytest

from autobatcher import BudgetExceededError
from tests.harness import open_harness, outcome_of, wait_for_event
from tests.journal.restarts import Program, Restarts
from tests.receipts import WORDY_BILLED_PRICES, WORDY_GIVEN_PRICES, ask_briefly

CAP = Decimal("0.02")
SETTINGS: dict[str, Any] = {"prices": WORDY_GIVEN_PRICES, "max_cost": CAP}


def full_disk() -> Any:
    """A transaction on a disk that has no room for it."""
    raise sqlite3.OperationalError("database or disk is full")


def fill_the_disk(program: Program) -> None:
    """No write of this program succeeds from now on."""
    for writer in program.writers:
        assert writer._store is not None
        writer._store.transaction = full_disk  # type: ignore[method-assign]


async def ask_many(program: Program, name: str, count: int) -> list[Any]:
    """What so many calls got, all at once."""
    outcomes: list[Any] = []

    async def one(number: int) -> None:
        outcomes.append(await outcome_of(ask_briefly(program.client, f"{name} {number} {'padding ' * 300}")))

    async with anyio.create_task_group() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)
    return outcomes


@pytest.mark.proves("faults", "the journal cannot be written any more (a full disk), and calls have a cap")
@pytest.mark.parametrize("is_early", [False, True])
@pytest.mark.parametrize("dies", [False, True])
async def test_a_cap_is_not_exceeded_though_the_disk_is_full(restarts: Restarts, is_early: bool, dies: bool) -> None:
    async with open_harness(prices=WORDY_BILLED_PRICES, batch_seconds=100) as harness:
        async with restarts.program(harness, **SETTINGS) as program, anyio.create_task_group() as nursery:
            if is_early:
                await ask_many(program, "early", 1)
                fill_the_disk(program)
            nursery.start_soon(ask_many, program, "first", 2)
            if not is_early:
                await wait_for_event(harness, "batch_submitted")
                fill_the_disk(program)
            await anyio.sleep(400)
            await ask_many(program, "late", 2)
            if dies:
                program.die()
        if not is_early:
            assert restarts.receipt(WORDY_GIVEN_PRICES).total.cost < harness.emulator.bill().total  # it forgot
        for number in range(6):
            async with restarts.program(harness, **SETTINGS) as program:
                outcomes = await ask_many(program, f"again {number}", 3)
            restarts.end_well()
        assert all(isinstance(outcome, BudgetExceededError) for outcome in outcomes)
        assert 0 < harness.emulator.bill().total <= CAP
