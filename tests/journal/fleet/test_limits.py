"""Limits that hold for all programs of a journal together: what may be spent, and how often batches are created."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import anyio
import pytest

from autobatcher import BudgetExceededError
from autobatcher.upstream.providers import OPENAI
from tests.harness import Harness, open_harness, outcome_of, pause_process, wait_for_event
from tests.journal.fleet.programs import Fleet, Member
from tests.receipts import WORDY_BILLED_PRICES, WORDY_GIVEN_PRICES, ask_briefly

CAP = "0.055"
"""Enough for eight calls of `ask_briefly` in batches, or four at once."""

CAPPED: dict[str, Any] = {"prices": WORDY_GIVEN_PRICES, "max_cost": CAP}
SETTINGS = [CAPPED, {"prices": WORDY_GIVEN_PRICES, "max_cost_per_account": CAP}]


def is_refused(outcome: Any) -> bool:
    return isinstance(outcome, BudgetExceededError)


def bill_of(harness: Harness) -> Decimal:
    return harness.emulator.bill().total


@pytest.mark.proves("faults", "programs that share a journal spend at the same moment what max_cost leaves")
@pytest.mark.full_price
@pytest.mark.parametrize("settings", SETTINGS, ids=["of all", "per account"])
@pytest.mark.parametrize(("lanes", "most"), [("batch", 8), ("realtime", 4)])
async def test_programs_that_spend_at_the_same_moment_keep_one_cap(
    fleet: Fleet, settings: dict[str, Any], lanes: str, most: int
) -> None:
    outcomes: list[Any] = []

    async def ask(member: Member, text: str) -> None:
        outcomes.append(await outcome_of(ask_briefly(member.client, text)))

    async with (
        open_harness(prices=WORDY_BILLED_PRICES, batch_seconds=50, has_lanes=True) as harness,
        fleet.member(harness, lanes=lanes, **settings) as one,
        fleet.member(harness, lanes=lanes, **settings) as other,
    ):
        async with anyio.create_task_group() as nursery:
            for number in range(12):
                nursery.start_soon(ask, (one, other)[number % 2], f"question {number}")
        answered = [outcome for outcome in outcomes if isinstance(outcome, str)]
        assert all(is_refused(outcome) for outcome in outcomes if not isinstance(outcome, str))
        assert len(answered) == most
        assert bill_of(harness) <= Decimal(CAP)
        await anyio.sleep(10)
        assert is_refused(await outcome_of(ask_briefly(other.client, "late")))
        assert one.client.receipt().total.requests < most


@pytest.mark.proves("faults", "programs that share a journal spend at the same moment what max_cost leaves")
async def test_what_a_program_reserved_that_died_counts_until_another_has_ended_its_batch(fleet: Fleet) -> None:
    settings = {"prices": WORDY_GIVEN_PRICES, "max_cost": CAP}
    async with (
        open_harness(prices=WORDY_BILLED_PRICES, batch_seconds=100) as harness,
        fleet.member(harness, **settings) as other,
    ):
        async with fleet.member(harness, **settings) as first, anyio.create_task_group() as nursery:
            for number in range(7):
                nursery.start_soon(outcome_of, ask_briefly(first.client, f"question {number}"))
            await wait_for_event(harness, "batch_submitted")
            first.die()
        await anyio.sleep(10)
        assert is_refused(await outcome_of(ask_briefly(other.client, "dear", tokens=7)))
        assert await ask_briefly(other.client, "cheap") == "cheap"
        for number in range(7):
            assert await ask_briefly(other.client, f"question {number}") == f"question {number}"
        await anyio.sleep(10)
        assert other.client.receipt().total.requests == 8
        assert bill_of(harness) <= Decimal(CAP)
        assert harness.emulator.bill().requests == 8


@pytest.mark.proves("faults", "programs that share a journal spend at the same moment what max_cost leaves")
@pytest.mark.parametrize("seed", range(3))
async def test_whatever_comes_when_and_whoever_dies_the_bill_is_under_the_cap(fleet: Fleet, seed: int) -> None:
    chance = random.Random(seed)
    outcomes: list[Any] = []
    living: list[Member] = []

    async def ask(seconds: float, text: str) -> None:
        await anyio.sleep(seconds)
        member = chance.choice(living)
        outcome = await outcome_of(ask_briefly(member.client, text, tokens=chance.randint(1, 3)))
        outcomes.append(outcome)

    async with open_harness(prices=WORDY_BILLED_PRICES, batch_seconds=30) as harness:
        async with fleet.member(harness, **CAPPED) as stays, anyio.create_task_group() as nursery:
            living.append(stays)
            for number in range(40):
                nursery.start_soon(ask, chance.uniform(0, 200), f"question {number % 30}")
            async with fleet.member(harness, **CAPPED) as dies:
                living.append(dies)
                await anyio.sleep(chance.uniform(0, 100))
                living.remove(dies)
                dies.die()
            async with fleet.member(harness, **CAPPED) as follows:
                living.append(follows)
                await anyio.sleep(chance.uniform(0, 100))
                living.remove(follows)
            await anyio.sleep(300)
        assert Decimal(CAP) * Decimal("0.7") < bill_of(harness) <= Decimal(CAP)
        assert any(map(is_refused, outcomes))


@pytest.mark.proves("faults", "programs that share a journal create more batches in an hour than the provider takes")
async def test_programs_create_together_no_more_batches_an_hour_than_the_provider_takes(fleet: Fleet) -> None:
    settings = {"provider": replace(OPENAI, max_batches_per_hour=4)}
    async with (
        open_harness(max_batches_per_hour=4, batch_seconds=10) as harness,
        fleet.member(harness, **settings) as one,
        fleet.member(harness, **settings) as other,
        anyio.create_task_group() as nursery,
    ):
        for number in range(6):
            nursery.start_soon(ask_briefly, (one, other)[number % 2].client, f"question {number}")
            await anyio.sleep(5)
        await wait_for_event(harness, "batch_completed", 4)
        pause_process(3_500)
        assert len(harness.events_named("batch_submitted")) == 4
        await wait_for_event(harness, "batch_completed", 6)
        assert 3_600 < anyio.current_time() < 3_700
        assert harness.emulator.statistics().http_statuses.get(429) is None
