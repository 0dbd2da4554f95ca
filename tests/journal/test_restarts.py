"""Programs that die at any moment, whatever the upstream does: each request is billed once.

`HYPOTHESIS_SEEDS=5000` (`nox -s seeds`) runs that many random histories.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from autobatcher.emulator import BatchFault, FaultPlan, HttpFault
from autobatcher.errors import BatchEndedError, BatchSubmissionError, BatchUnreachableError, BudgetExceededError
from tests.harness import Harness, open_harness, pause_process
from tests.journal.restarts import Restarts, billed
from tests.receipts import WORDY_BILLED_PRICES, WORDY_GIVEN_PRICES, ask_briefly, check_receipt

SEEDS = int(os.environ.get("HYPOTHESIS_SEEDS", "0"))
EXAMPLES = settings(max_examples=SEEDS or 30, derandomize=not SEEDS)


How = Literal["dies", "fails", "is going to fail"]
"""Killed; left by an exception; closed after `keep_for_rerun`. (After a clean exit, answers are forgotten.)"""


@dataclass(frozen=True)
class Plan:
    """Programs that send the same requests and end at some time, until one gets all answers.

    Attributes:
        ends: of all programs but the last: after how many seconds, and how.
        leaves: callers, by number, who leave after that many seconds and retry.
        pauses: of each program: when, and for how long.
    """

    like: Literal["openai", "doubleword"]
    batch_seconds: float
    batch_size: int
    texts: list[str]
    ends: list[tuple[float, How]]
    leaves: dict[int, float]
    pauses: list[tuple[float, float]]
    is_hash_only: bool
    cancels_on_close: bool
    cancels_abandoned: bool
    max_active: int
    poll_interval: float
    max_cost: str | None
    faults: FaultPlan = field(default_factory=FaultPlan)


# Faults before a creation takes effect, and faults after it: never both at once.
passing = st.sampled_from(
    [
        {"status": 503},
        {"status": 502, "after_processing": True},
        {"disconnect": True},
        {"lose_answer": True},
        {"delay_seconds": 3.0},
        {"delay_seconds": 3.0, "after_processing": True},
        {"cut_after_bytes": 100},
    ]
)
READING = ["files.content", "batches.retrieve", "batches.list", "files.delete"]
WRITING = ["files.create", "batches.create"]
http_faults = st.builds(
    lambda place, first: HttpFault(operation=place[0], first=first, **place[1]),
    place=st.tuples(st.sampled_from(READING + WRITING), passing)
    | st.tuples(st.sampled_from(READING[:2]), st.just({"status": 404})),
    first=st.integers(1, 3),
)
# 404 would mean that the batch is gone, and its lines would be billed again.
lasting_refusals = st.builds(
    HttpFault,
    operation=st.sampled_from(["files.content", "batches.retrieve", "batches.list", "batches.cancel"]),
    status=st.sampled_from([401, 403]),
    first=st.integers(5, 120),
)
batch_faults = st.builds(
    BatchFault,
    nth=st.sampled_from([(1,), (2,), (1, 2)]),
    ends=st.sampled_from(["expired", "cancelled", "failed"]),
    after=st.floats(0, 1),
    list_unfinished=st.booleans(),
)
lengths = st.floats(0.0, 30.0) | st.floats(0.0, 1500.0)
plans = st.builds(
    Plan,
    like=st.sampled_from(["openai", "doubleword"]),
    batch_seconds=st.sampled_from([0.0, 15.0]),
    batch_size=st.integers(1, 4),
    texts=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6),
    ends=st.lists(
        st.tuples(
            st.floats(0.0, 30.0) | st.floats(0.0, 1500.0), st.sampled_from(["dies", "fails", "is going to fail"])
        ),
        min_size=1,
        max_size=4,
    ),
    leaves=st.dictionaries(st.integers(0, 5), st.floats(0.0, 30.0), max_size=2),
    pauses=st.lists(st.tuples(st.floats(0.0, 40.0), st.sampled_from([30.0, 700.0, 5000.0])), max_size=2),
    is_hash_only=st.booleans(),
    cancels_on_close=st.booleans(),
    cancels_abandoned=st.booleans(),
    max_active=st.sampled_from([1, 2, 200]),
    poll_interval=st.sampled_from([2.0, 2.0, 180.0]),
    max_cost=st.sampled_from([None, "1", "0.01", "0.005"]),
    faults=st.builds(FaultPlan, st.lists(http_faults | lasting_refusals | batch_faults, max_size=3).map(tuple)),
)


LEFT_A_HANDED_OVER_BATCH = Plan(
    like="openai",
    batch_seconds=0.0,
    batch_size=4,
    texts=["a"] * 4,
    ends=[(0.0, "dies")],
    leaves={0: 3.0, 1: 3.0},
    pauses=[(2.0, 30.0)],
    is_hash_only=True,
    cancels_on_close=False,
    cancels_abandoned=False,
    max_active=1,
    poll_interval=2.0,
    max_cost=None,
)
"""Two leave a batch that is being read; the first one is back, in another life of it, before the second one leaves."""


@pytest.mark.timeout(3600 if SEEDS else 300, method="thread")  # the other method leaves trio's runner waiting for ever
@EXAMPLES
@given(plan=plans)
@example(plan=LEFT_A_HANDED_OVER_BATCH)
async def test_whenever_programs_die_the_last_one_has_all_answers_and_each_was_paid_once(
    plan: Plan, restarts: Restarts
) -> None:
    restarts.clear()
    emulated: dict[str, Any] = {
        "batch_seconds": plan.batch_seconds,
        "faults": plan.faults,
        "prices": WORDY_BILLED_PRICES,
    }
    async with open_harness(plan.like, **emulated) as harness:
        options: dict[str, Any] = {
            "batch_size": plan.batch_size,
            "journal_hash_only": plan.is_hash_only,
            "cancel_active_batches_on_close": plan.cancels_on_close,
            "cancel_abandoned_batches": plan.cancels_abandoned,
            "max_active_batches": plan.max_active,
            "poll_interval_seconds": plan.poll_interval,
            "prices": WORDY_GIVEN_PRICES,
            "max_cost": plan.max_cost,
        }
        for seconds, how in plan.ends:
            await _run_until_it_ends(plan, restarts, harness, options, seconds, how)
        async with restarts.program(harness, **options) as program, anyio.create_task_group() as pausing:
            pausing.start_soon(_pause, plan)
            with anyio.fail_after(500_000):
                answers = await _ask_all(program.client, plan)
            pausing.cancel_scope.cancel()
            budget = program.client._spending.caps.budget
        assert all(answer in (text, None) for text, answer in zip(plan.texts, answers, strict=True))
        assert billed(harness) <= Counter(plan.texts)
        assert plan.max_cost in (None, "0.01", "0.005") or billed(harness) == Counter(plan.texts)
        check_receipt(restarts.receipt(WORDY_GIVEN_PRICES), harness.emulator)
        if budget is not None:
            assert harness.emulator.bill().total <= budget.cap.amount
            assert budget.spent >= harness.emulator.bill().total
            assert budget.reserved == 0
        statistics = harness.emulator.statistics()
        assert not statistics.running_batch_ids
        if plan.like == "openai" and not restarts.unfinished():  # the next program finishes what is left
            assert not statistics.input_file_ids


class _FailedError(Exception):
    """Raised by programs that fail."""


async def _run_until_it_ends(
    plan: Plan, restarts: Restarts, harness: Harness, options: dict[str, Any], seconds: float, how: How
) -> None:
    with contextlib.suppress(_FailedError):
        async with restarts.program(harness, **options) as program:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(_pause, plan)
                nursery.start_soon(_ask_all, program.client, plan)
                await anyio.sleep(seconds)
                if how == "dies":
                    program.die()
                if how == "is going to fail":
                    program.client.keep_for_rerun()
                nursery.cancel_scope.cancel()
            if how == "fails":
                raise _FailedError


async def _pause(plan: Plan) -> None:
    for at, how_long in plan.pauses:
        await anyio.sleep(at)
        pause_process(how_long)


async def _ask_until_answered(client: Any, text: str) -> str | None:
    """Ask again if a batch fails: that does not end the program. None if a cap forbids it."""
    while True:
        try:
            return await ask_briefly(client, text, tokens=1)
        except BudgetExceededError:
            return None
        except (BatchEndedError, BatchUnreachableError, BatchSubmissionError):
            await anyio.sleep(1)


async def _ask_all(client: Any, plan: Plan) -> list[str | None]:
    answers: dict[int, str | None] = {}

    async def one(number: int, text: str) -> None:
        with anyio.move_on_after(plan.leaves.get(number, 50_000)):
            answers[number] = await _ask_until_answered(client, text)
            return
        answers[number] = await _ask_until_answered(client, text)

    async with anyio.create_task_group() as nursery:
        for number, text in enumerate(plan.texts):
            nursery.start_soon(one, number, text)
    return [answers[number] for number in sorted(answers)]
