"""What was paid, and what may have been, over restarts."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from autobatcher.emulator import FaultPlan, LineFault
from autobatcher.engine.journal.charges import NewCharge
from autobatcher.engine.journal.store import Store
from autobatcher.money.budget import Budget
from autobatcher.money.ledger import Charge, Fate, Sort
from autobatcher.money.usage import Usage
from tests.harness import HTTP, Send, between, open_harness, outcome_of, wait_for_event
from tests.journal.restarts import Program, Restarts
from tests.journal.test_reconciling import reconcile
from tests.receipts import BILLED_PRICES, GIVEN_PRICES, ask_briefly, check_receipt

CAPPED: dict[str, Any] = {"prices": GIVEN_PRICES, "max_cost": 1}
REALTIME: dict[str, Any] = {**CAPPED, "lanes": ("realtime",)}


def _budget(program: Program) -> Budget:
    budget = program.client._spending.caps.budget
    assert budget is not None
    return budget


async def test_an_answer_without_tokens_counts_in_the_next_run_too(restarts: Restarts) -> None:
    faults = FaultPlan((LineFault(kind="usage", usage="none"),))
    body = b'{"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}'
    async with open_harness(prices=BILLED_PRICES, faults=faults) as harness:
        spent = []
        for _ in range(2):
            async with restarts.program(harness, **CAPPED) as program:
                await program.client.answer("/v1/chat/completions", body)
                spent.append(_budget(program).spent)
            restarts.end_well()
        assert spent[1] == 2 * spent[0] > 0


@pytest.mark.full_price
async def test_a_call_whose_caller_left_is_not_reserved_in_the_next_run(restarts: Restarts) -> None:
    async with open_harness(has_lanes=True, realtime_seconds=60.0, prices=BILLED_PRICES) as harness:
        async with restarts.program(harness, **REALTIME) as program:
            with anyio.move_on_after(10):
                await ask_briefly(program.client, "a")
            spent = _budget(program).spent
        async with restarts.program(harness, **REALTIME) as program:
            await outcome_of(ask_briefly(program.client, "a"))  # it is told
            assert [_budget(program).spent, _budget(program).reserved] == [spent, 0]
        assert restarts.receipt().total.uncertain == 1


@pytest.mark.full_price
async def test_a_call_whose_caller_leaves_while_it_is_recorded_is_neither_sent_nor_booked(restarts: Restarts) -> None:
    restarts.commit_seconds = 1.0
    async with (
        open_harness(has_lanes=True, prices=BILLED_PRICES) as harness,
        restarts.program(harness, **REALTIME) as program,
    ):
        for _ in range(3):
            with anyio.move_on_after(0.5):
                await ask_briefly(program.client, "a")
        await anyio.sleep(10)
        assert (program.client.receipt().total.uncertain, harness.emulator.bill().requests) == (0, 0)
        assert await ask_briefly(program.client, "a") == "a"


@pytest.mark.full_price
@pytest.mark.parametrize("overrun", ["miss", "pay_twice"])
async def test_a_call_that_ran_in_a_crash_is_told_as_uncertain_and_goes_on_to_count(
    restarts: Restarts, overrun: str
) -> None:
    async with open_harness(has_lanes=True, realtime_seconds=60.0, prices=BILLED_PRICES) as harness:
        settings = {**REALTIME, "on_overrun": overrun}
        async with restarts.program(harness, **settings) as program, anyio.create_task_group() as nursery:
            nursery.start_soon(outcome_of, ask_briefly(program.client, "a"))
            await anyio.sleep(10)
            program.die()
        for _ in range(2):
            async with restarts.program(harness, **settings) as program:
                await outcome_of(ask_briefly(program.client, "a"))
                assert _budget(program).spent >= harness.emulator.bill().total
                assert _budget(program).reserved == 0
            check_receipt(restarts.receipt(), harness.emulator)
        assert restarts.receipt().total.uncertain == 1


async def test_a_batch_that_is_gone_is_told_as_uncertain_when_its_lines_are_sent_again(restarts: Restarts) -> None:
    is_gone = True

    async def answer(request: Any, send: Send) -> Any:
        nonlocal is_gone
        if is_gone and "/content" in request.url.path:
            return HTTP.Response(404, json={"error": {"message": "no such file", "code": "not_found"}})
        if "/files" in request.url.path and request.method == "POST":
            is_gone = False
        return await send(request)

    async with open_harness(prices=BILLED_PRICES, batch_seconds=50) as harness:
        await _die_in_a_batch(restarts, harness, CAPPED)
        await anyio.sleep(100)
        async with restarts.program(harness, http_client=between(harness, answer), **CAPPED) as program:
            assert await ask_briefly(program.client, "a") == "a"
            assert _budget(program).spent >= harness.emulator.bill().total
        assert harness.emulator.bill().requests == 2
        check_receipt(restarts.receipt(), harness.emulator)


async def test_a_call_that_joins_a_batch_without_reservations_counts_against_the_cap(restarts: Restarts) -> None:
    async with open_harness(prices=BILLED_PRICES, batch_seconds=500) as harness:
        await _die_in_a_batch(restarts, harness, {"prices": GIVEN_PRICES})
        async with restarts.program(harness, **CAPPED) as program, anyio.create_task_group() as nursery:
            nursery.start_soon(ask_briefly, program.client, "a")
            await anyio.sleep(100)
            assert _budget(program).reserved > 0


async def test_a_batch_that_is_left_to_a_rerun_is_told_as_uncertain(restarts: Restarts) -> None:
    async with open_harness(prices=BILLED_PRICES, batch_seconds=500) as harness:
        settings = {**CAPPED, "cancel_active_batches_on_close": False}
        async with restarts.program(harness, **settings) as program, anyio.create_task_group() as nursery:
            nursery.start_soon(outcome_of, ask_briefly(program.client, "a"))
            await wait_for_event(harness, "batch_submitted")
            assert program.client.receipt().total.uncertain == 0
            await program.client.close()
        assert program.client.receipt().total.uncertain == 1
        async with restarts.program(harness, **CAPPED) as rerun:
            await ask_briefly(rerun.client, "a")
        check_receipt(restarts.receipt(), harness.emulator)


async def test_what_reconcile_reads_counts_against_the_budget_of_the_program(restarts: Restarts) -> None:
    async with open_harness(prices=BILLED_PRICES, batch_seconds=50) as harness:
        settings = {**CAPPED, "budget": "team"}
        await _die_in_a_batch(restarts, harness, settings)
        await anyio.sleep(100)
        await reconcile(restarts, harness)
        async with restarts.program(harness, **settings) as program:
            await ask_briefly(program.client, "b")
            assert _budget(program).spent == harness.emulator.bill().total
        assert harness.emulator.bill().requests == 2


async def _die_in_a_batch(restarts: Restarts, harness: Any, settings: dict[str, Any]) -> None:
    async with restarts.program(harness, **settings) as program, anyio.create_task_group() as nursery:
        nursery.start_soon(outcome_of, ask_briefly(program.client, "a"))
        await wait_for_event(harness, "batch_submitted")
        program.die()


def test_a_million_calls_do_not_make_a_million_rows(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "j")) as store:
        for number in range(3):
            sort = Sort("openai", "", "m", "/v1/chat/completions", "realtime", "", Fate.DELIVERED)
            store.answer([], [NewCharge(f"call-{number}", Charge(sort, Usage(1), ""))], now=7_200.0)
        store.answer([], [NewCharge("call", Charge(sort, Usage(1), ""))], budget="another", now=7_200.0)
        rows = [(kept.hour, kept.budget, kept.entry.requests, kept.entry.usage.input) for kept in store.charges()]
        assert rows == [(2, "", 3, 3), (2, "another", 1, 1)]
