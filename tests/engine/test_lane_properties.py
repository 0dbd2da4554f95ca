"""Random worlds with deadlines: one outcome for each caller, in time, and at most one bill for each request."""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import anyio
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatcher import BatchOpenAI, DeadlineMissedError
from autobatcher.emulator import BatchFault, FaultPlan, HttpFault, LogNormal
from tests.harness import Harness, ask, open_harness, outcome_of
from tests.receipts import BILLED_PRICES, GIVEN_PRICES, check_receipt

pytestmark = pytest.mark.full_price

SEEDS = int(os.environ.get("HYPOTHESIS_SEEDS", "15"))
SHORT, LONG = 300.0, 86_400.0
LATE_SECONDS = 2.0
"""How much later than its deadline a caller may be told of it."""


@dataclass
class Plan:
    """One world."""

    seed: int
    dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def lanes(self) -> tuple[str, ...]:
        return self.dice.choice(
            [("batch",), ("batch", "flex"), ("batch", "realtime"), ("batch", "flex", "realtime"), ("flex", "realtime")]
        )

    def deadline(self) -> float | None:
        if self.dice.random() < 0.2:
            return None
        seconds: float = SHORT * (LONG / SHORT) ** self.dice.random()
        return seconds

    def faults(self) -> FaultPlan:
        chance = self.dice.choice([0.0, 0.0, 0.05, 0.2])
        if not chance:
            return FaultPlan()
        refused = HttpFault(operation="flex", probability=chance, status=429, code="resource_unavailable")
        failing = HttpFault(operation="realtime", probability=chance / 2, status=503)
        cut = HttpFault(operation="*", probability=chance / 4, lose_answer=True)
        stuck = BatchFault(probability=chance, ends="stuck", after=0.99)
        never = BatchFault(probability=chance / 2, ends="stuck", stuck_in="validating")
        polls = HttpFault(operation="batches.retrieve", probability=chance, status=500)
        return FaultPlan((refused, failing, cut, stuck, never, polls), seed=self.seed)

    def emulator(self) -> dict[str, Any]:
        median = self.dice.choice([60.0, 420.0, 3_600.0, 40_000.0])
        return {
            "batch_seconds": LogNormal(median_seconds=median, p90_seconds=median * 8, seed=self.seed),
            "cancelling_seconds": self.dice.choice([0.0, 30.0, 600.0]),
            "finished_while_cancelling": self.dice.random(),
            "flex_seconds": LogNormal(median_seconds=30, p90_seconds=180, seed=self.seed),
            "realtime_seconds": LogNormal(median_seconds=5, p90_seconds=30, seed=self.seed),
            "faults": self.faults(),
        }


@pytest.mark.proves(
    "faults", "deadlines, lanes and all of these, mixed at random with cancellations, closes, crashes and reruns"
)
@pytest.mark.timeout(7200 if SEEDS > 15 else 300, method="thread")  # the other method leaves trio's runner waiting
@settings(max_examples=SEEDS)
@given(st.integers(0, 2**32 - 1))
async def test_each_request_has_one_outcome_in_time_and_is_billed_at_most_once(seed: int) -> None:
    await check_world(Plan(seed))


async def check_world(plan: Plan) -> Counter[str]:
    like = plan.dice.choice(["openai", "doubleword"])
    outcomes: Counter[str] = Counter()
    async with open_harness(like, has_lanes=True, prices=BILLED_PRICES, **plan.emulator()) as harness:
        lanes = plan.lanes()
        money = {"prices": GIVEN_PRICES, "max_cost": plan.dice.choice([None, None, "0.01", "0.1"])}
        async with (
            harness.client(lanes=lanes, poll_interval_seconds=30.0, lane_concurrency=8, **money) as client,
            anyio.create_task_group() as nursery,
        ):
            for number in range(plan.dice.randrange(1, 40)):
                nursery.start_soon(_call, plan, client, f"call {number}", outcomes)
        _check_billing(harness)
        check_receipt(client.receipt(), harness.emulator)
        if money["max_cost"] is not None:
            assert harness.emulator.bill().total <= Decimal(str(money["max_cost"]))
    return outcomes


async def _call(plan: Plan, client: BatchOpenAI, text: str, outcomes: Counter[str]) -> None:
    deadline, leaves_after = plan.deadline(), plan.dice.choice([None] * 9 + [plan.dice.random() * 2_000])
    await anyio.sleep(plan.dice.random() * 3_000)
    with anyio.move_on_after(leaves_after or float("inf")):
        begun = anyio.current_time()
        if deadline is None:
            outcome = await outcome_of(ask(client, text))
        else:
            with client.deadline(deadline):
                outcome = await outcome_of(ask(client, text))
            assert anyio.current_time() - begun <= deadline + LATE_SECONDS
        if isinstance(outcome, str):
            assert outcome == text
            outcomes["answered"] += 1
        else:
            assert isinstance(outcome, openai.APIError), outcome
            outcomes["missed" if isinstance(outcome, DeadlineMissedError) else "failed"] += 1


def _check_billing(harness: Harness) -> None:
    billed = Counter(each.text for each in harness.emulator.ledger())
    assert not {text: count for text, count in billed.items() if count > 1}, billed
