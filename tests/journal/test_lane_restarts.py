"""Programs with deadlines and lanes that die at any moment: each request is billed at most once over all lanes.

`HYPOTHESIS_SEEDS=5000` (`nox -s seeds`) runs that many random histories.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections import Counter
from typing import Any

import anyio
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatcher import BatchOpenAI
from autobatcher.emulator import BatchFault, FaultPlan, HttpFault, LogNormal
from tests.harness import Harness, open_harness, outcome_of, pause_process
from tests.journal.restarts import Restarts
from tests.receipts import WORDY_BILLED_PRICES, WORDY_GIVEN_PRICES, ask_briefly, check_receipt

pytestmark = pytest.mark.full_price

SEEDS = int(os.environ.get("HYPOTHESIS_SEEDS", "0"))
EXAMPLES = settings(max_examples=SEEDS or 20, derandomize=not SEEDS)
LANES = [("batch", "flex"), ("batch", "realtime"), ("batch", "flex", "realtime"), ("flex", "realtime"), ("realtime",)]
NO_ANSWER_SECONDS = 400_000.0
"""No program needs longer."""


class World:
    """One upstream, and programs that ask the same texts of it, one after the other. All but the last die or fail."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.seed = seed
        self.texts = [f"text {number}" for number in range(self.dice.randint(1, 8))]
        self.lanes = self.dice.choice(LANES)
        self.settings: dict[str, Any] = {
            "lanes": self.lanes,
            "lane_concurrency": self.dice.choice([1, 8]),
            "poll_interval_seconds": self.dice.choice([5.0, 60.0]),
            "cancel_active_batches_on_close": self.dice.random() < 0.3,
            "cancel_abandoned_batches": self.dice.random() < 0.7,
            "on_missed": self.dice.choice(["raise", "wait"]),
            "prices": WORDY_GIVEN_PRICES,
            "max_cost": self.dice.choice([None, "1", "0.02", "0.01"]),
        }

    def emulator(self) -> dict[str, Any]:
        median = self.dice.choice([60.0, 420.0, 3_600.0, 40_000.0])
        return {
            "batch_seconds": LogNormal(median_seconds=median, p90_seconds=median * 8, seed=self.seed),
            "cancelling_seconds": self.dice.choice([0.0, 30.0, 600.0]),
            "finished_while_cancelling": self.dice.random(),
            "flex_seconds": LogNormal(median_seconds=30, p90_seconds=180, seed=self.seed),
            "realtime_seconds": LogNormal(median_seconds=5, p90_seconds=30, seed=self.seed),
            "faults": self._faults(),
        }

    def _faults(self) -> FaultPlan:
        chance = self.dice.choice([0.0, 0.1, 0.3])
        faults = (
            HttpFault(operation="flex", probability=chance, status=429, code="resource_unavailable"),
            HttpFault(operation="realtime", probability=chance / 2, status=503),
            HttpFault(operation="realtime", probability=chance / 2, disconnect=True),
            HttpFault(operation="*", probability=chance / 4, lose_answer=True),
            HttpFault(operation="batches.retrieve", probability=chance, status=500),
            HttpFault(operation="batches.cancel", probability=chance, status=500),
            BatchFault(probability=chance, ends="stuck", after=0.6),
            BatchFault(probability=chance / 2, ends="stuck", stuck_in="validating"),
            BatchFault(probability=chance / 2, ends="expired", after=0.5),
        )
        return FaultPlan(faults if chance else (), seed=self.seed)

    def seconds(self) -> float:
        """Up to an hour or two, and often a moment."""
        return self.dice.choice([10.0, 400.0, 7_000.0]) * self.dice.random()

    def deadline(self) -> float | None:
        return None if self.dice.random() < 0.2 else 300.0 * 288.0 ** self.dice.random()


@pytest.mark.proves(
    "faults", "deadlines, lanes and all of these, mixed at random with cancellations, closes, crashes and reruns"
)
@pytest.mark.timeout(3600 if SEEDS else 300, method="thread")  # the other method leaves trio's runner waiting for ever
@EXAMPLES
@given(seed=st.integers(0, 2**32 - 1))
async def test_whenever_programs_die_each_request_has_an_outcome_and_is_billed_at_most_once(
    seed: int, restarts: Restarts
) -> None:
    restarts.clear()
    world = World(seed)
    emulator = {"prices": WORDY_BILLED_PRICES, **world.emulator()}
    async with open_harness(world.dice.choice(["openai", "doubleword"]), has_lanes=True, **emulator) as harness:
        for _ in range(world.dice.randint(0, 3)):
            await _run_and_end_badly(world, restarts, harness)
        async with restarts.program(harness, **world.settings) as program:
            with anyio.fail_after(NO_ANSWER_SECONDS):
                outcomes = await _ask_all(world, program.client)
            budget = program.client._spending.caps.budget
        assert sorted(outcomes) == sorted(world.texts)
        _check_billing(harness)
        if not restarts.unfinished():  # the next program learns what is left
            check_receipt(restarts.receipt(WORDY_GIVEN_PRICES), harness.emulator)
            assert budget is None or budget.reserved == 0
        if budget is not None:
            assert harness.emulator.bill().total <= budget.spent + budget.reserved <= budget.cap.amount


def _check_billing(harness: Harness) -> None:
    billed = Counter(each.text for each in harness.emulator.ledger())
    assert not {text: count for text, count in billed.items() if count > 1}, list(harness.emulator.ledger())


class _FailedError(Exception):
    """Raised by programs that fail."""


async def _run_and_end_badly(world: World, restarts: Restarts, harness: Harness) -> None:
    how = world.dice.choice(["dies", "fails", "is going to fail"])
    with contextlib.suppress(_FailedError):
        async with restarts.program(harness, **world.settings) as program:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(_ask_all, world, program.client)
                await anyio.sleep(world.seconds())
                if world.dice.random() < 0.2:
                    pause_process(world.seconds())
                if how == "dies":
                    program.die()
                if how == "is going to fail":
                    program.client.keep_for_rerun()
                nursery.cancel_scope.cancel()
            if how == "fails":
                raise _FailedError


async def _ask_all(world: World, client: BatchOpenAI) -> list[str]:
    """Ask each text, and return those with an outcome."""
    outcomes: list[str] = []

    async def one(text: str) -> None:
        await _ask_once(world, client, text)
        outcomes.append(text)

    async with anyio.create_task_group() as nursery:
        for text in world.texts:
            nursery.start_soon(one, text)
    return outcomes


async def _ask_once(world: World, client: BatchOpenAI, text: str) -> None:
    """Ask until there is an outcome; some leave and come back."""
    leaves_after = world.seconds() if world.dice.random() < 0.2 else 0.0
    await anyio.sleep(world.seconds() if world.dice.random() < 0.3 else 0.0)
    outcome = None
    with anyio.move_on_after(leaves_after):
        outcome = await _outcome(client, text, world.deadline())
    _check(outcome or await _outcome(client, text, world.deadline()), text)


async def _outcome(client: BatchOpenAI, text: str, deadline: float | None) -> Any:
    if deadline is None:
        return await outcome_of(ask_briefly(client, text, tokens=2))
    with client.deadline(deadline):
        return await outcome_of(ask_briefly(client, text, tokens=2))


def _check(outcome: Any, text: str) -> None:
    assert outcome == text if isinstance(outcome, str) else isinstance(outcome, openai.APIError), outcome
