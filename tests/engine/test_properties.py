"""Random arrivals, cancellations, closes, pauses and upstream faults, and the invariants that always hold.

Exactly one outcome per caller, the right answer for each, billed at most once per attempt, no unwanted batch left
running, no file left behind, no task left after the close. Deterministic by default; `HYPOTHESIS_SEEDS=N` runs N random
examples.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import anyio
import openai
import pytest
from anyio.lowlevel import current_token
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatcher import BatchOpenAI, ClientClosedError
from autobatcher.emulator import BatchFault, Fault, FaultPlan, HttpFault, LineFault
from autobatcher.emulator.statistics import Statistics
from tests.harness import SDK_LIBRARY, Harness, pause_process
from tests.receipts import WORDY_BILLED_PRICES, WORDY_GIVEN_PRICES, ask_briefly, check_receipt

SEEDS = int(os.environ.get("HYPOTHESIS_SEEDS", "0"))

EXAMPLES = settings(max_examples=SEEDS or 60, derandomize=not SEEDS)

How = Literal["cancel scope", "native"]


@dataclass(frozen=True)
class Caller:
    arrives_at: float
    leaves_after: float | None
    leaves_how: How
    model: str


@dataclass(frozen=True)
class Plan:
    like: str
    batch_seconds: float
    batch_size: int
    window_seconds: float
    cancel_on_close: bool
    max_retries: int
    max_enqueued: int | None
    max_active: int
    cancel_abandoned: bool
    poll_interval: float
    pauses: list[tuple[float, float]]
    closes_at: float | None
    callers: list[Caller]
    max_cost: str | None
    resubmits_missing: bool
    faults: FaultPlan = field(repr=True)


seconds = st.floats(0, 40, allow_nan=False)
callers = st.builds(
    Caller,
    arrives_at=seconds,
    leaves_after=st.none() | seconds,
    leaves_how=st.sampled_from(["cancel scope", "native"]),
    model=st.sampled_from(["a", "b"]),
)
passing = st.sampled_from(
    [
        {"status": 500},
        {"status": 502, "after_processing": True},
        {"status": 503, "body": "<html>busy</html>"},
        {"status": 429, "headers": {"retry-after": "7"}},
        {"status": 404},
        {"disconnect": True},
        {"lose_answer": True},
        {"delay_seconds": 5.0},
        {"cut_after_bytes": 100},
    ]
)
OPERATIONS = [
    "files.create",
    "files.content",
    "files.delete",
    "files.list",
    "batches.create",
    "batches.retrieve",
    "batches.list",
    "batches.cancel",
]
http_faults = st.builds(
    lambda operation, what, first: HttpFault(operation=operation, first=first, **what),
    operation=st.sampled_from(OPERATIONS),
    what=passing | st.just({"status": 403}),
    first=st.integers(1, 3),
)
lasting_refusals = st.builds(
    HttpFault,
    operation=st.sampled_from(["files.content", "batches.retrieve", "batches.list", "batches.cancel"]),
    status=st.sampled_from([401, 403, 404]),
    first=st.integers(5, 120),
)
pauses = st.tuples(seconds, st.sampled_from([30.0, 700.0, 5000.0, 100_000.0]))
batch_faults = st.builds(
    BatchFault,
    nth=st.sampled_from([(1,), (2,), (1, 2)]),
    ends=st.sampled_from([None, "expired", "cancelled", "failed", "stuck"]),
    after=st.floats(0, 1),
    error_code=st.sampled_from([None, "token_limit_exceeded"]),
    list_unfinished=st.booleans(),
    hide_counts=st.booleans(),
    empty_file_ids=st.booleans(),
    crlf=st.booleans(),
    cut_last_line=st.booleans(),
    blank_lines=st.booleans(),
)
line_faults = st.builds(
    LineFault,
    kind=st.sampled_from(["fail", "drop", "refuse", "duplicate", "unknown_custom_id", "null_custom_id", "text_body"]),
    lines=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    status=st.sampled_from([400, 404, 408, 409, 429, 500]),
    in_output_file=st.booleans(),
    billed=st.booleans(),
    batches=st.sampled_from([(), (1,), (1, 2)]),
)
faults: st.SearchStrategy[Fault] = st.one_of(http_faults, lasting_refusals, batch_faults, line_faults)
plans = st.builds(
    Plan,
    like=st.sampled_from(["openai", "doubleword"]),
    batch_seconds=st.sampled_from([0.0, 15.0]),
    batch_size=st.integers(1, 6),
    window_seconds=st.sampled_from([0.0, 2.0, 10.0]),
    cancel_on_close=st.booleans(),
    max_retries=st.integers(0, 2),
    max_enqueued=st.none() | st.integers(1, 6),
    max_active=st.sampled_from([1, 2, 200]),
    cancel_abandoned=st.booleans(),
    poll_interval=st.sampled_from([2.0, 2.0, 180.0]),
    pauses=st.lists(pauses, max_size=2),
    closes_at=st.none() | seconds,
    callers=st.lists(callers, min_size=1, max_size=8),
    max_cost=st.sampled_from([None, "1", "0.03", "0.02", "0.0065"]),
    resubmits_missing=st.booleans(),
    faults=st.builds(FaultPlan, st.lists(faults, max_size=4).map(tuple)),
)


class Run:
    """Carries out one plan, and records what happened to each caller."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.harness = Harness(
            plan.like,
            batch_seconds=plan.batch_seconds,
            faults=plan.faults,
            max_enqueued_requests=plan.max_enqueued,
            prices=WORDY_BILLED_PRICES,
        )
        self.outcomes: list[str] = []
        self.was_cut_short = any(
            isinstance(fault, HttpFault) and (fault.delay_seconds or fault.operation in ("files.delete", "files.list"))
            for fault in plan.faults.faults
        )
        """The shutdown may have been too short to delete files."""
        self.has_natives = type(current_token().native_token).__module__.startswith("tests.")

    async def carry_out(self) -> None:
        client = self.harness.client(
            batch_size=self.plan.batch_size,
            batch_window_seconds=self.plan.window_seconds,
            cancel_active_batches_on_close=self.plan.cancel_on_close,
            cancel_abandoned_batches=self.plan.cancel_abandoned,
            max_active_batches=self.plan.max_active,
            poll_interval_seconds=self.plan.poll_interval,
            max_retries=self.plan.max_retries,
            prices=WORDY_GIVEN_PRICES,
            max_cost=self.plan.max_cost,
            missing_lines="resubmit" if self.plan.resubmits_missing else "fail",
            http_client=self.harness.emulator.http_client(library=SDK_LIBRARY),
        )
        with anyio.fail_after(3_000_000):  # detects a hang
            async with client, anyio.create_task_group() as nursery:
                for at, how_long in self.plan.pauses:
                    nursery.start_soon(self._pause, at, how_long)
                for number, caller in enumerate(self.plan.callers):
                    nursery.start_soon(self._run_caller, client, caller, number)
                if self.plan.closes_at is not None:
                    await anyio.sleep(self.plan.closes_at)
                    await client.close()
        self.statistics = client.batch_statistics()
        self.receipt = client.receipt()
        self.budget = client._spending.caps.budget

    async def _pause(self, at: float, how_long: float) -> None:
        await anyio.sleep(at)
        pause_process(how_long)

    async def _run_caller(self, client: BatchOpenAI, caller: Caller, number: int) -> None:
        await anyio.sleep(caller.arrives_at)
        call = self._call(client, caller, number)
        if caller.leaves_after is None:
            await call
        elif caller.leaves_how == "native" and self.has_natives:
            task = asyncio.create_task(call)
            await asyncio.wait([task], timeout=caller.leaves_after)
            task.cancel()
            await asyncio.wait([task])
        else:
            with anyio.move_on_after(caller.leaves_after):
                await call

    async def _call(self, client: BatchOpenAI, caller: Caller, number: int) -> None:
        outcome = "cancelled"
        try:
            answer = await ask_briefly(client, f"caller-{number}.", caller.model)
            outcome = "answered" if f"caller-{number}." in answer else f"wrong answer: {answer}"
        except ClientClosedError:
            outcome = "closed"
        except openai.APIError:
            outcome = "failed"
        finally:
            self.outcomes.append(outcome)


@pytest.mark.proves("faults", "all of these, mixed at random with cancellations and closes")
@pytest.mark.timeout(3600 if SEEDS else 300, method="thread")  # the other method leaves trio's runner waiting for ever
@given(plans)
@EXAMPLES
async def test_whatever_happens_every_caller_has_one_outcome_and_nothing_is_sent_twice(plan: Plan) -> None:
    run = Run(plan)
    await run.carry_out()
    emulated = run.harness.emulator.statistics()
    try:
        assert len(run.outcomes) == len(plan.callers)
        assert set(run.outcomes) <= {"answered", "failed", "closed", "cancelled"}
        if plan.closes_at is None:
            assert "closed" not in run.outcomes
        assert all(count == 1 for count in emulated.billed.values())
        billed = Counter(line.body["messages"][0]["content"] for line in emulated.lines if line.billed)
        assert not [text for text, count in billed.items() if count > 1 + plan.max_retries]
        assert sum(emulated.realtime_calls.values()) == 0
        left_on_purpose = (plan.closes_at is not None and not plan.cancel_on_close) or not plan.cancel_abandoned
        not_cancelled = run.harness.events_named("batch_cancel_failed")
        assert not _unwanted(emulated) or left_on_purpose or not_cancelled
        if plan.like == "openai" and not (left_on_purpose or not_cancelled or run.was_cut_short):
            assert emulated.input_file_ids == ()
        statistics = run.statistics
        if statistics is not None:
            assert (statistics.waiting_requests, statistics.active_batch_ids) == (0, ())
        check_receipt(run.receipt, run.harness.emulator)
        if run.budget is not None:
            assert run.harness.emulator.bill().total <= run.budget.cap.amount
            assert run.budget.reserved == 0
        assert run.outcomes.count("answered") <= sum(line.billed for line in emulated.lines)
    finally:
        run.harness.emulator.close()


def _unwanted(emulated: Statistics) -> list[str]:
    """Running batches with unfinished lines. (One whose lines are all done costs nothing, whatever its status.)"""
    return [
        batch.id
        for batch in emulated.batches
        if batch.id in emulated.running_batch_ids
        and (not batch.custom_ids or batch.completed + batch.failed < len(batch.custom_ids))
    ]
