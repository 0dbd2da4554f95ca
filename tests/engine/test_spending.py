"""Receipts and caps: what was paid, to the last digit, and what is refused before it is paid."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import openai
import pytest

from autobatcher import BudgetExceededError
from autobatcher.emulator import BatchFault, FaultPlan, HttpFault, LineFault
from autobatcher.money.budget import Budget, Reservation
from autobatcher.money.cap import Cap, Period
from autobatcher.money.exact import ZERO
from tests.harness import Harness, ask, open_harness, outcome_of, wait_for_event
from tests.receipts import BILLED_PRICES, GIVEN_PRICES, check_receipt

LINE = Decimal("0.01")
"""More than a call of these tests may cost, since each allows one token of output."""


async def _ask(client: Any, text: str, **arguments: Any) -> Any:
    messages = [{"role": "user", "content": text}]
    return await client.chat.completions.create(model="m", messages=messages, max_tokens=1, **arguments)


# ---- receipts ----


@pytest.mark.full_price
async def test_a_receipt_equals_the_bill_by_model_endpoint_and_lane() -> None:
    async with open_harness(has_lanes=True, prices=BILLED_PRICES, batch_seconds=5) as harness:
        async with harness.client(prices=GIVEN_PRICES, lanes=("batch", "flex")) as client:
            async with anyio.create_task_group() as nursery:
                for number in range(5):
                    nursery.start_soon(ask, client, f"q{number}", "a" if number % 2 else "b")
                nursery.start_soon(_embed, client)
                with client.deadline(120):
                    nursery.start_soon(ask, client, "hurried", "b")
            receipt = client.receipt()
        check_receipt(receipt, harness.emulator)
        assert {(row.model, row.endpoint, row.lane) for row in receipt.rows} == {
            ("a", "/v1/chat/completions", "batch"),
            ("b", "/v1/chat/completions", "batch"),
            ("e", "/v1/embeddings", "batch"),
            ("b", "/v1/chat/completions", "flex"),
        }
        bill = harness.emulator.bill()
        for row in receipt.rows:
            alike = [each for each in bill.entries if (each.model, each.lane) == (row.model, row.lane)]
            assert row.cost == sum(each.cost for each in alike)
            assert row.list_price == sum(each.list_cost for each in alike)
            assert set(row.batch_ids) == {each.batch_id for each in alike if each.batch_id}
        assert receipt.total.saving == bill.list_total - bill.total > 0


async def _embed(client: Any) -> None:
    await client.embeddings.create(model="e", input=["one", "two"])


@pytest.mark.full_price
async def test_the_cost_of_an_answer_is_told_for_each_form_of_it() -> None:
    async with open_harness(has_lanes=True, prices=BILLED_PRICES) as harness:
        async with (
            harness.client(prices=GIVEN_PRICES, lanes=("flex",)) as hurried,
            harness.client(prices=GIVEN_PRICES) as client,
        ):
            raw = await client.chat.completions.with_raw_response.create(
                model="m", messages=[{"role": "user", "content": "x"}]
            )
            parsed = await _ask(hurried, "y")
            answer = await client.answer("/v1/embeddings", b'{"model": "m", "input": "z"}')
            costs = [client.cost_of(raw), hurried.cost_of(parsed), client.cost_of(answer)]
        bill = harness.emulator.bill()
        assert sum(cost for cost in costs if cost is not None) == bill.total
        assert costs[1] == bill.by("lane")["flex"]


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # the SDK leaves its own unfinished at [DONE]
async def test_what_is_no_answer_has_no_cost_and_a_sentence_says_so() -> None:
    asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    async with open_harness() as harness, harness.client(prices=GIVEN_PRICES) as client:
        completions = client.chat.completions
        stream = await completions.create(**asked, stream=True)
        raw = await completions.with_raw_response.create(**asked, stream=True)
        for each in (stream, raw, None, "text", {"id": "x"}, type(stream)):
            with pytest.raises(TypeError, match=r"cost_of\(\) takes an answer"):
                client.cost_of(each)
        async with completions.with_streaming_response.create(**asked) as unread:
            assert client.cost_of(unread) is not None
        for each in (stream, raw.parse()):
            assert [chunk async for chunk in each]


async def test_a_call_of_an_unknown_price_is_counted_as_that() -> None:
    async with open_harness(prices=BILLED_PRICES) as harness:
        async with harness.client(prices={"known": GIVEN_PRICES["*"]}) as client:
            await ask(client, "x", "known")
            unpriced = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "y"}])
            assert client.cost_of(unpriced) is None
            total = client.receipt().total
        assert (total.requests, total.unpriced) == (2, 1)
        assert total.cost == harness.emulator.bill().by("model")["known"]


@pytest.mark.proves("faults", "callers leave, or batches are cancelled or repeated, after lines of them were executed")
async def test_answers_that_nobody_waits_for_are_paid_and_told_as_discarded() -> None:
    async with open_harness("openai", prices=BILLED_PRICES, batch_seconds=30) as harness:
        async with harness.client(prices=GIVEN_PRICES) as client:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(ask, client, "stays")
                with anyio.move_on_after(10):
                    await ask(client, "leaves")
            rows = {row.fate: row.requests for row in client.receipt().rows}
        check_receipt(client.receipt(), harness.emulator)
        assert rows == {"delivered": 1, "discarded": 1}


@pytest.mark.proves("faults", "callers leave, or batches are cancelled or repeated, after lines of them were executed")
async def test_what_a_cancelled_batch_had_executed_is_told() -> None:
    async with open_harness("openai", prices=BILLED_PRICES, batch_seconds=100, cancelling_seconds=60) as harness:
        async with harness.client(prices=GIVEN_PRICES) as client:
            with anyio.move_on_after(60):
                async with anyio.create_task_group() as nursery:
                    for number in range(10):
                        nursery.start_soon(ask, client, f"q{number}")
            await wait_for_event(harness, "batch_cancelled_upstream")
            await anyio.sleep(200)
            total = client.receipt().total
        assert 0 < total.requests < 10
        assert total.uncertain == 0
        check_receipt(client.receipt(), harness.emulator)


async def test_a_batch_that_is_left_running_is_told_as_uncertain() -> None:
    async with open_harness(prices=BILLED_PRICES, batch_seconds=3_000) as harness:
        async with harness.client(prices=GIVEN_PRICES, cancel_abandoned_batches=False) as client:
            with anyio.move_on_after(100):
                await ask(client, "x")
        assert client.receipt().total.uncertain == 1
        assert client.receipt().total.cost == 0


@pytest.mark.proves("faults", "answers do not tell their tokens, or talk nonsense of them")
@pytest.mark.parametrize("usage", ["none", -5, {"prompt_tokens": "many"}])
async def test_an_answer_that_does_not_say_its_tokens_has_no_known_price(usage: Any) -> None:
    faults = FaultPlan((LineFault(kind="usage", usage=usage),))
    async with open_harness(prices=BILLED_PRICES, faults=faults) as harness:
        async with harness.client(prices=GIVEN_PRICES) as client:
            await client.answer(
                "/v1/chat/completions", b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}'
            )
        total = client.receipt().total
        assert (total.requests, total.unpriced, total.cost) == (1, 1, ZERO)


@pytest.mark.proves("faults", "callers leave, or batches are cancelled or repeated, after lines of them were executed")
@pytest.mark.full_price
async def test_a_line_that_is_paid_twice_has_a_row_of_its_own() -> None:
    stuck = BatchFault(nth=(1,), ends="stuck", after=0.9)
    refused = HttpFault(operation="batches.cancel", status=500)
    async with open_harness(
        has_lanes=True, prices=BILLED_PRICES, batch_seconds=20, faults=FaultPlan((stuck, refused))
    ) as harness:
        settings: dict[str, Any] = {"lanes": ("batch", "realtime"), "on_overrun": "pay_twice", "deadline": "3h"}
        async with harness.client(prices=GIVEN_PRICES, **settings) as client, anyio.create_task_group() as nursery:
            for number in range(10):
                nursery.start_soon(outcome_of, ask(client, f"q{number}"))
        total = client.receipt().total
        bill = harness.emulator.bill()
        assert total.requests + total.uncertain >= bill.requests
        assert total.cost <= bill.total


# ---- caps ----


@pytest.mark.proves("faults", "calls may cost more than max_cost leaves")
async def test_a_call_that_may_cost_more_than_is_left_is_refused_at_once_and_disturbs_nobody() -> None:
    async with open_harness(prices=BILLED_PRICES, batch_seconds=50) as harness:
        async with harness.client(prices=GIVEN_PRICES, max_cost="0.0006") as client:
            outcomes: list[Any] = []

            async def one(number: int) -> None:
                outcomes.append(await outcome_of(_ask(client, f"q{number}")))

            async with anyio.create_task_group() as nursery:
                for number in range(10):
                    nursery.start_soon(one, number)
        refused = [each for each in outcomes if isinstance(each, BudgetExceededError)]
        assert 0 < len(refused) < 10
        assert len(outcomes) == 10
        assert harness.emulator.bill().requests == 10 - len(refused)
        assert harness.emulator.bill().total <= Decimal("0.0006")
        error = refused[0]
        assert isinstance(error, openai.PermissionDeniedError)
        assert error.asked is not None
        assert error.spent + error.reserved + error.asked > Decimal("0.0006")
        assert error.cap == Decimal("0.0006")
        assert (error.response.status_code, error.response.headers["x-should-retry"]) == (402, "false")


async def test_what_is_not_needed_is_given_back() -> None:
    """Each call reserves more than it costs, so later ones have room once its cost is known."""
    async with open_harness(prices=BILLED_PRICES) as harness:
        async with harness.client(prices=GIVEN_PRICES, max_cost="0.0003") as client:
            for number in range(5):
                await _ask(client, f"q{number}")
            assert isinstance(await outcome_of(_ask(client, "x" * 10_000)), BudgetExceededError)
            await _ask(client, "short")
        check_receipt(client.receipt(), harness.emulator)


async def test_a_call_that_leaves_the_queue_gives_its_reservation_back() -> None:
    async with open_harness(prices=BILLED_PRICES) as harness:
        async with harness.client(prices=GIVEN_PRICES, max_cost="0.0003", batch_window_seconds=100) as client:
            with anyio.move_on_after(1):
                await _ask(client, "first")
            await _ask(client, "other")
        assert harness.emulator.bill().requests == 1


@pytest.mark.parametrize("caps", [{"max_cost": "1"}, {}])
async def test_calls_of_unknown_price_are_refused_where_that_is_wanted(
    caps: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_harness(prices=BILLED_PRICES) as harness:
        async with harness.client(prices={"known": GIVEN_PRICES["*"]}, unknown_prices="refuse", **caps) as client:
            error = await outcome_of(_ask(client, "x"))
            assert isinstance(error, BudgetExceededError)
            assert "unknown" in str(error)
            assert error.asked is None
            assert isinstance(await outcome_of(_ask(client, "z")), BudgetExceededError)
            assert await ask(client, "y", "known")
        assert harness.emulator.bill().requests == 1
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [str(error) in text for text in told] == [True]


async def test_a_cap_that_does_not_hold_for_a_model_is_told_once_for_each(caplog: pytest.LogCaptureFixture) -> None:
    prices = {"known": GIVEN_PRICES["*"], "half-known": {"batch": GIVEN_PRICES["*"]["batch"]}}
    async with open_harness(has_lanes=True, prices=BILLED_PRICES) as harness:
        async with harness.client(prices=prices, max_cost="1", lanes=("batch", "flex"), deadline="30h") as client:
            for model in ("m", "m", "half-known", "half-known", "other", "known"):
                await ask(client, "x", model)
        async with harness.client(prices=prices) as without_cap:
            await ask(without_cap, "x", "m")
    told = [record.getMessage() for record in caplog.records if "does not hold" in record.getMessage()]
    assert [re.findall("model '(.+?)'", text) for text in told] == [["m"], ["half-known"], ["other"]]
    assert "count nothing" in told[0]
    assert "may cost more than is counted" in told[1]
    for way in ("max_cost", "prices=", "--prices", 'unknown_prices="refuse"'):
        assert way in told[0]


async def test_each_account_has_its_own_cap() -> None:
    async with open_harness(prices=BILLED_PRICES) as harness:
        async with harness.client(prices=GIVEN_PRICES, max_cost_per_account="0.001") as client:
            other = client.copy(api_key="another")
            first = [await outcome_of(_ask(client, f"q{number}" + " word" * 200)) for number in range(9)]
            second = await outcome_of(_ask(other, "q"))
        assert isinstance(first[-1], BudgetExceededError)
        assert not isinstance(first[0], BudgetExceededError)
        assert not isinstance(second, BudgetExceededError)
        assert harness.emulator.bill().total <= Decimal("0.002")


def test_a_period_begins_anew_and_keeps_what_is_reserved() -> None:
    now = [1_700_000_000.0]
    budget = Budget(Cap(Decimal(10), Period.DAY), lambda: now[0])
    budget.spend(Decimal(7))
    reservation = Reservation((budget,), Decimal(2))
    assert not budget.has_room(Decimal(2))
    now[0] += 86_400
    assert budget.has_room(Decimal(8))
    assert not budget.has_room(Decimal(9))
    reservation.spend(Decimal(1))
    assert (budget.spent, budget.reserved) == (Decimal(1), ZERO)


def test_the_journal_needs_no_prices(tmp_path: Path) -> None:
    assert Harness().client(journal=tmp_path / "j", max_cost=1).receipt().total.requests == 0
