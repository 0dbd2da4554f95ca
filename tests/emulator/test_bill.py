"""What the emulator bills, in tokens and in dollars: independent of what any client counts."""

from __future__ import annotations

import json
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from typing import Any

import anyio
import httpx
import pytest

from autobatcher.emulator import BatchFault, Emulator, FaultPlan, HttpFault, LineFault, Price, PriceList, Usage
from autobatcher.emulator.answers import answer
from autobatcher.emulator.bill import LONGEST_MODEL, OTHER_MODELS, Bill

from .doors import CHAT, chat_line, create_batch, line, open_http, open_sdk, read_lines

# Prices with which no two sums are the same by chance.
BATCH = Price(lane="batch", input=Decimal("0.0375"), cached=Decimal("0.01"), output=Decimal("0.3"))
HURRIED = Price(lane="batch", window="1h", input=Decimal("0.056"), output=Decimal("0.45"))
FLEX = Price(lane="flex", input=Decimal("0.041"), output=Decimal("0.33"))
REALTIME = Price(input=Decimal("0.075"), cached=Decimal("0.02"), output=Decimal("0.6"))
PRICES = PriceList((HURRIED, BATCH, FLEX, REALTIME))
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello there"}]}


def _emulator(*faults: Any, **settings: Any) -> Emulator:
    return Emulator(**{"faults": FaultPlan(faults), "prices": PRICES, "shuffle": False, **settings})


def _tokens(answer: dict[str, Any]) -> tuple[int, int]:
    """Input and output tokens as an answer of any endpoint says them."""
    usage = answer["usage"]
    if "input_tokens" in usage:
        return usage["input_tokens"], usage["output_tokens"]
    return usage["prompt_tokens"], usage.get("completion_tokens", 0)


def _cost(price: Price, *answers: dict[str, Any]) -> Decimal:
    """In a loop over the answers, one by one, so that it shares nothing with the bill's sums."""
    cost = Decimal(0)
    for each in answers:
        asked, said = _tokens(each)
        cost += (asked * price.input + said * price.output) / Decimal(1_000_000)
    return cost


async def _answers(emulator: Emulator, lines: Any, **order: Any) -> list[dict[str, Any]]:
    """The bodies of the good answers to a new batch."""
    async with open_sdk(emulator) as sdk:
        created = await create_batch(sdk, lines, **order)
        batch = await sdk.batches.retrieve(created.id)
        return [each["response"]["body"] for each in await read_lines(sdk, batch.output_file_id)]


# What is billed


async def test_a_batch_is_billed_by_the_usage_of_its_answers() -> None:
    with _emulator() as emulator:
        answers = await _answers(emulator, [chat_line(f"r{i}", "x" * 7 * i) for i in range(20)])
        bill = emulator.bill()
        assert bill.total == _cost(BATCH, *answers) > 0
        assert bill.list_total == _cost(REALTIME, *answers)
        (entry,) = bill.entries
        assert (entry.requests, entry.lane, entry.endpoint, entry.model) == (20, "batch", CHAT, "m")
        asked, said = zip(*map(_tokens, answers), strict=True)
        assert entry.usage == Usage(input=sum(asked), output=sum(said))
        assert bill.by_batch == {entry.batch_id: bill.total}


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/v1/chat/completions", BODY),
        ("/v1/responses", {"model": "m", "input": "hello there"}),
        ("/v1/embeddings", {"model": "m", "input": ["hello", "there"]}),
        ("/v1/completions", {"model": "m", "prompt": "hello there"}),
        ("/v1/images/generations", {"model": "m", "prompt": "a cat"}),
    ],
)
async def test_every_endpoint_says_what_it_bills_in_a_batch_and_in_real_time(url: str, body: dict[str, Any]) -> None:
    with _emulator() as emulator:
        batched = await _answers(emulator, [line("a", url, body)], endpoint=url)
        async with open_http(emulator) as http:
            called = (await http.post(url.removeprefix("/v1"), json=body)).json()
        in_batch, in_real_time = emulator.bill().entries
        assert (in_batch.cost, in_real_time.cost) == (_cost(BATCH, *batched), _cost(REALTIME, called))
        assert in_batch.endpoint == in_real_time.endpoint == url
        assert in_batch.cost > 0
        assert in_real_time.without_usage == 0


async def test_a_stream_that_says_no_usage_is_billed_all_the_same() -> None:
    with _emulator() as emulator:
        async with open_http(emulator) as http:
            told = (await http.post("/chat/completions", json=BODY)).json()
            assert '"usage"' not in (await http.post("/chat/completions", json={**BODY, "stream": True})).text
        assert emulator.bill().total == _cost(REALTIME, told, told)


async def test_moderations_are_free() -> None:
    with _emulator() as emulator:
        async with open_http(emulator) as http:
            await http.post("/moderations", json={"input": "hello"})
        (entry,) = emulator.bill().entries
        assert (entry.requests, entry.without_usage) == (1, 1)
        assert entry.cost == 0


async def test_each_lane_and_window_has_its_price() -> None:
    with _emulator(like="doubleword") as emulator:
        slow = await _answers(emulator, [chat_line("a", "hello there")])
        hurried = await _answers(emulator, [chat_line("a", "hello there")], completion_window="1h")
        async with open_http(emulator) as http:
            flex = (await http.post("/chat/completions", json={**BODY, "service_tier": "flex"})).json()
            called = (await http.post("/chat/completions", json=BODY)).json()
            charged_in_full = (
                await http.post("/embeddings", json={"model": "m", "input": "hello", "service_tier": "flex"})
            ).json()
        bill = emulator.bill()
        assert bill.by("lane") == {
            "batch": _cost(BATCH, *slow) + _cost(HURRIED, *hurried),
            "flex": _cost(FLEX, flex),
            "realtime": _cost(REALTIME, called, charged_in_full),
        }
        assert bill.by("window") == {
            "24h": _cost(BATCH, *slow),
            "1h": _cost(HURRIED, *hurried),
            "": bill.by("lane")["flex"] + bill.by("lane")["realtime"],
        }
        assert bill.by("endpoint")["/v1/embeddings"] == _cost(REALTIME, charged_in_full)
        assert sum(bill.by_batch.values()) == bill.total


async def test_a_call_is_billed_at_the_tier_that_it_was_given() -> None:
    with _emulator(HttpFault(operation="flex", service_tier="default")) as emulator:
        async with open_http(emulator) as http:
            called = (await http.post("/chat/completions", json={**BODY, "service_tier": "flex"})).json()
        assert emulator.bill().by("lane") == {"realtime": _cost(REALTIME, called)}


async def test_what_failed_costs_nothing_and_what_was_lost_costs_all() -> None:
    lines = [chat_line(f"r{i}", model="fail-400" if i == 9 else "m") for i in range(10)]
    faults = (
        LineFault(kind="fail", lines=(1,)),
        LineFault(kind="fail", lines=(2,), code="server_error"),
        LineFault(kind="drop", lines=(3,)),
        LineFault(kind="drop", lines=(4,), billed=True),
        LineFault(kind="duplicate", lines=(5,)),
        LineFault(kind="text_body", lines=(6,)),
        LineFault(kind="status", lines=(7,), status=42),
    )
    with _emulator(*faults, like="doubleword") as emulator:
        await _answers(emulator, lines)
        faulty = emulator.bill()
    with _emulator(like="doubleword") as emulator:
        good = await _answers(emulator, lines)
    assert faulty.requests == 6
    assert faulty.total == _cost(BATCH, *good[3:])


async def test_lines_that_were_not_executed_cost_nothing() -> None:
    for ends in ("expired", "cancelled", "failed"):
        with _emulator(BatchFault(ends=ends, after=0.5)) as emulator:
            answers = await _answers(emulator, [chat_line(f"r{i}") for i in range(8)])
            assert len(answers) == 4
            assert emulator.bill().total == _cost(BATCH, *answers)


async def test_a_canned_answer_is_billed_by_what_it_says() -> None:
    usage = {"prompt_tokens": 1000, "prompt_tokens_details": {"cached_tokens": 400}, "completion_tokens": 7}
    with _emulator(LineFault(kind="canned", body=json.dumps({"usage": usage}))) as emulator:
        await _answers(emulator, [chat_line("a")])
        assert emulator.bill().total == (600 * BATCH.input + 400 * Decimal("0.01") + 7 * BATCH.output) / 1_000_000


async def test_a_call_whose_answer_was_lost_is_billed() -> None:
    with _emulator(HttpFault(operation="realtime", nth=(1,), lose_answer=True)) as emulator:
        async with open_http(emulator) as http:
            with pytest.raises(httpx.ReadError):
                await http.post("/chat/completions", json=BODY)
            told = (await http.post("/chat/completions", json=BODY)).json()
        assert emulator.bill().total == _cost(REALTIME, told, told)


async def test_the_bill_remembers_what_the_ledger_forgot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autobatcher.emulator.batches.REMEMBERED_BYTES", 100)
    monkeypatch.setattr("autobatcher.emulator.ledger.REMEMBERED_BYTES", 100)
    with _emulator() as emulator:
        answers = [*await _answers(emulator, [chat_line("a")]), *await _answers(emulator, [chat_line("b")])]
        async with open_http(emulator) as http:
            called = [(await http.post("/chat/completions", json=BODY)).json() for _ in range(3)]
        assert len(emulator.ledger()) < 5
        assert emulator.bill().requests == 5
        assert emulator.bill().total == _cost(BATCH, *answers) + _cost(REALTIME, *called)


def _forwarding_to(behind: Emulator) -> dict[str, Any]:
    return {"forward_to": "http://model.test/v1", "forward_transport": behind.transport()}


async def test_a_forwarded_line_is_billed_by_what_the_server_said() -> None:
    with Emulator() as behind, _emulator(like="doubleword", **_forwarding_to(behind)) as front:
        async with anyio.create_task_group() as group, open_sdk(front) as sdk, open_http(front) as http:
            await group.start(front.run)
            await create_batch(sdk, [chat_line("a"), chat_line("b", model="fail-400")])
            await anyio.sleep(1)
            said = behind.bill().usage
            await http.post("/chat/completions", json=BODY)
            group.cancel_scope.cancel()
        batched, called = front.bill().entries
        assert (batched.requests, batched.usage) == (1, said)
        assert (called.requests, called.without_usage) == (1, 1)
        assert called.cost == 0


# Prices


async def test_the_first_price_that_fits_counts() -> None:
    prices = PriceList(
        (
            Price(model="big-*", more_than=10, input=Decimal(7), output=Decimal(9)),
            Price(model="big-*", input=Decimal(2), output=Decimal(3)),
        )
    )
    with _emulator(prices=prices) as emulator:
        short, long = await _answers(
            emulator, [chat_line("a", "x", model="big-one"), chat_line("b", "x" * 40, model="big-one")]
        )
        assert _tokens(short)[0] <= 10 < _tokens(long)[0]
        expected = _cost(prices.prices[1], short) + _cost(prices.prices[0], long)
        assert emulator.bill().total == expected


async def test_every_other_model_has_a_default_price() -> None:
    with Emulator() as emulator:
        answers = await _answers(emulator, [chat_line("a", model="who-knows")])
        assert emulator.bill().total == _cost(Price(input=Decimal(1), output=Decimal(4)), *answers)


def test_costs_are_exact_beyond_the_usual_28_digits() -> None:
    price = Price(input=Decimal("0.1000000000000000000000000001"), output=Decimal(0))
    assert Fraction(price.cost(Usage(input=10**12 + 1))) == (10**12 + 1) * Fraction(price.input) / 10**6


def test_a_list_is_read_from_json_without_rounding() -> None:
    text = '{"prices": [{"model": "gpt-*", "lane": "batch", "window": "1h", "input": 0.1, "output": "0.30"}]}'
    (price,) = PriceList.from_json(text).prices
    assert (price.input, price.output) == (Decimal("0.1"), Decimal("0.3"))


@pytest.mark.parametrize("amount", ["-1", "NaN", "1e99"])
def test_a_price_that_is_none_is_refused(amount: str) -> None:
    with pytest.raises(ValueError, match="a price must"):
        Price(input=Decimal(amount), output=Decimal(1))


async def test_a_bill_is_json_with_amounts_as_texts() -> None:
    with _emulator() as emulator:
        await _answers(emulator, [chat_line("a")])
        bill = emulator.bill()
        told = json.loads(json.dumps(bill.as_dict()))
        assert Decimal(told["total"]) == bill.total
        assert told["entries"][0]["completion_window"] == "24h"
    assert Bill(()).as_dict()["total"] == "0"


# What answers and batches say of it


async def test_a_part_of_the_input_may_be_cached_and_a_part_of_the_output_thought() -> None:
    with _emulator(cached_share=0.5, reasoning_tokens=30) as emulator:
        (chat,) = await _answers(emulator, [chat_line("a", "x" * 40)])
        (response,) = await _answers(
            emulator, [line("a", "/v1/responses", {"model": "m", "input": "x" * 40})], endpoint="/v1/responses"
        )
        in_chat, in_response = (entry.usage for entry in emulator.bill().entries)
        assert in_chat == in_response == Usage(input=16, cached=8, output=40, reasoning=30)
        assert chat["usage"]["prompt_tokens_details"]["cached_tokens"] == 8
        assert chat["usage"]["completion_tokens_details"]["reasoning_tokens"] == 30
        assert response["usage"]["input_tokens_details"]["cached_tokens"] == 8
        assert response["usage"]["output_tokens_details"]["reasoning_tokens"] == 30
        expected = 8 * BATCH.input + 8 * Decimal("0.01") + 40 * BATCH.output
        assert emulator.bill().total == 2 * expected / 1_000_000


async def test_thinking_keeps_within_the_limit_of_the_output() -> None:
    with _emulator(reasoning_tokens=30) as emulator:
        await _answers(emulator, [chat_line("a", "x" * 40, max_completion_tokens=25)])
        assert emulator.bill().usage == Usage(input=16, output=25, reasoning=15)


@pytest.mark.parametrize(
    "told",
    [{}, {"usage": None}, {"usage": "much"}, {"usage": {"prompt_tokens": -5, "completion_tokens": "many"}}],
    ids=str,
)
async def test_an_answer_may_say_nonsense_of_its_usage_and_is_billed_in_truth(told: dict[str, Any]) -> None:
    fault = json.dumps({"faults": [{"level": "line", "kind": "usage", "lines": [1], **told}]})
    with _emulator(faults=FaultPlan.from_json(fault)) as emulator:
        lying, good = await _answers(emulator, [chat_line("a"), chat_line("b")])
        assert {name: lying[name] for name in lying if name == "usage"} == told
        assert lying.keys() | {"usage"} == good.keys()
        assert emulator.bill().total == _cost(BATCH, good, good)


async def test_a_batch_of_openai_says_at_its_end_what_it_took() -> None:
    with _emulator(BatchFault(ends="expired", after=0.5), batch_seconds=10, cached_share=0.25) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, [chat_line(f"r{i}", "x" * 40) for i in range(4)])
            await anyio.sleep(2)
            assert (await sdk.batches.retrieve(batch.id)).usage is None
            await anyio.sleep(10)
            usage = (await sdk.batches.retrieve(batch.id)).usage
        assert usage is not None
        assert usage.model_dump() == {
            "input_tokens": 32,
            "input_tokens_details": {"cached_tokens": 8},
            "output_tokens": 20,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 52,
        }


async def test_a_batch_of_doubleword_says_what_it_cost_in_its_analytics_only() -> None:
    with _emulator(like="doubleword", batch_seconds=10) as emulator:
        async with open_sdk(emulator) as sdk, open_http(emulator) as http:
            batch = await create_batch(sdk, [chat_line(f"r{i}") for i in range(4)], completion_window="1h")
            first = (await http.get(f"/batches/{batch.id}/analytics")).json()
            await anyio.sleep(10)
            told = (await http.get(f"/batches/{batch.id}/analytics")).json()
            listed = (await http.get("/batches", params={"include": "analytics"})).json()["data"][0]
            plain = (await http.get("/batches")).json()["data"][0]
        bill = emulator.bill()
        assert (first["total_requests"], first["total_cost"]) == (0, "0")
        assert (told["total_requests"], told["total_tokens"]) == (4, bill.usage.input + bill.usage.output)
        assert (told["total_prompt_tokens"], told["total_completion_tokens"]) == (bill.usage.input, bill.usage.output)
        assert (Decimal(told["total_cost"]), Decimal(told["total_list_cost"])) == (bill.total, bill.list_total)
        assert told["avg_duration_ms"] == told["avg_ttfb_ms"] == 2500
        assert listed == {**plain, "analytics": told}
        assert "usage" not in plain


async def test_a_file_of_doubleword_has_an_estimate_for_each_window() -> None:
    lines = [chat_line("a", model="m"), chat_line("b", model="n"), chat_line("c", model="n")]
    with _emulator(like="doubleword") as emulator:
        async with open_sdk(emulator) as sdk, open_http(emulator) as http:
            file = (await create_batch(sdk, lines)).input_file_id
            slow = (await http.get(f"/files/{file}/cost-estimate")).json()
            hurried = (await http.get(f"/files/{file}/cost-estimate", params={"completion_window": "1h"})).json()
        assert (slow["file_id"], slow["total_requests"]) == (file, 3)
        assert [(each["model"], each["request_count"]) for each in slow["models"]] == [("m", 1), ("n", 2)]
        for told, price in ((slow, BATCH), (hurried, HURRIED)):
            tokens = told["total_estimated_input_tokens"], told["total_estimated_output_tokens"]
            assert Decimal(told["total_estimated_cost"]) == _cost(
                price, {"usage": {"input_tokens": tokens[0], "output_tokens": tokens[1]}}
            )
            assert sum(Decimal(each["estimated_cost"]) for each in told["models"]) == Decimal(
                told["total_estimated_cost"]
            )


async def test_openai_has_neither_estimates_nor_analytics() -> None:
    with _emulator() as emulator:
        async with open_sdk(emulator) as sdk, open_http(emulator) as http:
            batch = await create_batch(sdk, [chat_line("a")])
            assert (await http.get(f"/batches/{batch.id}/analytics")).status_code == 404
            assert (await http.get(f"/files/{batch.input_file_id}/cost-estimate")).status_code == 404
            listed = (await http.get("/batches", params={"include": "analytics"})).json()["data"][0]
        assert "analytics" not in listed


async def test_the_bill_is_served_to_those_with_the_key_whatever_goes_wrong_elsewhere() -> None:
    with _emulator(HttpFault(status=500, operation="*"), api_key="right") as emulator:
        async with open_http(emulator) as http:
            url = "http://emulator.test/emulator/bill"
            assert (await http.get(url)).status_code == 401
            told = await http.get(url, headers={"authorization": "Bearer right"})
        assert told.json() == emulator.bill().as_dict()
        assert emulator.statistics().http_calls == {}


# Through thick and thin


async def test_the_bill_and_the_ledger_have_the_same_executions_whatever_goes_wrong() -> None:
    """The tokens of the ledger's bodies, answered once more, are those of the bill."""
    faults = (
        HttpFault(operation="realtime", every=3, lose_answer=True),
        HttpFault(operation="flex", every=2, service_tier="default"),
        BatchFault(nth=(2,), ends="expired", after=0.4),
        LineFault(kind="drop", probability=0.1, billed=True),
        LineFault(kind="drop", probability=0.1),
        LineFault(kind="usage", probability=0.1, usage={"prompt_tokens": -1}),
        LineFault(kind="fail", probability=0.2),
    )
    with _emulator(*faults, like="doubleword", batch_seconds=10, finished_while_cancelling=0.5) as emulator:
        async with open_sdk(emulator) as sdk, open_http(emulator) as http:
            for number in range(4):
                lines = [chat_line(f"r{i}", "x" * 5 * i, model=f"m{i % 3}") for i in range(40)]
                batch = await create_batch(sdk, lines, completion_window="1h" if number % 2 else "24h")
                await anyio.sleep(4)
                if number == 3:
                    await sdk.batches.cancel(batch.id)
                for tier in ("flex", "default"):
                    with suppress(httpx.ReadError):
                        await http.post("/chat/completions", json={**BODY, "service_tier": tier})
            await anyio.sleep(20)
        ledger, bill = emulator.ledger(), emulator.bill()
        expected: dict[str, Decimal] = {}
        for billed in ledger:
            price = {"flex": FLEX, "realtime": REALTIME}.get(billed.lane, BATCH)
            if billed.batch_id in {entry.batch_id for entry in bill.entries if entry.window == "1h"} - {""}:
                price = HURRIED
            said = json.loads(answer(billed.endpoint, billed.raw_body, 0).body)
            expected[billed.batch_id] = expected.get(billed.batch_id, Decimal(0)) + _cost(price, said)
        assert bill.requests == len(ledger) > 80
        assert bill.by_batch == expected
        assert sum(expected.values()) == bill.total


async def test_a_flood_of_models_takes_no_more_room_and_costs_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autobatcher.emulator.bill.MOST_MODELS", 5)
    with _emulator() as emulator:
        async with open_http(emulator) as http:
            names = ["m" * (LONGEST_MODEL + 1), *(f"m{i}" for i in range(20)), "m0"]
            told = [(await http.post("/chat/completions", json={**BODY, "model": name})).json() for name in names]
        bill = emulator.bill()
        assert bill.total == _cost(REALTIME, *told)
        assert [*bill.by("model")] == [OTHER_MODELS, *(f"m{i}" for i in range(10))]
