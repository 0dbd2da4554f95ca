"""What deadlines promise, with batches that take as long as public figures say: in time, at the discount, paid once.

`pytest -s` prints the shares, beside those of an oracle who knows beforehand how long each batch takes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from autobatcher.emulator import FaultPlan, HttpFault
from tests.deadline_world import (
    LINES_OF_A_BATCH,
    POLL_SECONDS,
    WINDOW_SECONDS,
    Call,
    Result,
    added_up,
    calls_of_a_day,
    live_through,
    oracle,
    provider,
)
from tests.harness import ask, open_harness, outcome_of

pytestmark = pytest.mark.full_price

CALLS = 300
DAYS = max(1, int(os.environ.get("HYPOTHESIS_SEEDS", "0")) // 250)

IN_TIME, AT_THE_DISCOUNT = 0.99, 0.95
CHANCE = 0.005
"""How much luck there is in so few calls."""

FEW_CALLS = 4
"""The same where two hundred calls are counted."""

PATIENT_SECONDS = 5_400.0
"""A deadline with time for nine in ten batches (an hour), and after that for a cancellation and the next lane."""


@pytest.mark.parametrize("like", ["openai", "doubleword"])
@pytest.mark.parametrize("lanes", ["batch,flex", "batch,flex,realtime"])
async def test_with_flex_answers_come_in_time_at_the_discount_and_are_billed_once(like: str, lanes: str) -> None:
    ours, theirs = await days(like, lanes)
    assert ours.in_time_share >= min(IN_TIME, theirs.in_time_share - CHANCE)
    assert ours.discount_share >= AT_THE_DISCOUNT


@pytest.mark.parametrize("like", ["openai", "doubleword"])
async def test_without_flex_answers_come_in_time_and_the_patient_keep_the_discount(like: str) -> None:
    ours, _ = await days(like, "batch,realtime")
    patient = ours.of([call for call in ours.calls if call.deadline >= PATIENT_SECONDS])
    assert ours.in_time_share >= IN_TIME
    assert patient.discount_share >= AT_THE_DISCOUNT - FEW_CALLS / len(patient.calls)


async def days(like: str, lanes: str) -> tuple[Result, Result]:
    """What became of the calls, and what an oracle would have reached. Nothing was paid twice."""
    seeds = range(DAYS)
    ours = added_up([await live(seed, like, lanes) for seed in seeds])
    theirs = added_up(oracle(calls_of_a_day(seed, CALLS), like, lanes.split(","), seed) for seed in seeds)
    print(f"\n{like}, {lanes}: ours {ours}; an oracle {theirs}")
    assert not list(wrongly_billed(ours))
    return ours, theirs


async def live(seed: int, like: str, lanes: str) -> Result:
    """One day, with a flex lane that refuses one call in five."""
    busy = HttpFault(operation="flex", probability=0.2, status=429, code="resource_unavailable")
    async with open_harness(like, has_lanes=True, faults=FaultPlan((busy,)), **provider(like, seed)) as harness:
        async with harness.client(
            lanes=lanes,
            batch_size=LINES_OF_A_BATCH,
            batch_window_seconds=WINDOW_SECONDS,
            poll_interval_seconds=POLL_SECONDS,
        ) as client:

            async def answer(call: Call) -> bool:
                with client.deadline(call.deadline):
                    return bool(await outcome_of(ask(client, call.text)) == call.text)

            result = await live_through(calls_of_a_day(seed, CALLS), answer)
        result.bill(harness.emulator.ledger())
    return result


def wrongly_billed(result: Result) -> Iterator[str]:
    """Answers that were not billed once, and misses that were billed more than once."""
    for call in result.calls:
        count = len(result.bills.get(call.text, ()))
        if count > 1 or (count == 0 and call.text in result.in_time):
            yield f"{call.text}: {count} bills"
