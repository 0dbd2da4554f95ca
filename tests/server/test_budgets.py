"""What callers of the proxy are told when there is no money left for them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import trio

from autobatcher.emulator import FaultPlan, HttpFault
from tests.receipts import GIVEN_PRICES
from tests.server.proxies import on_real_trio, open_proxy

pytestmark = on_real_trio
LIMIT = 20
CHAT: dict[str, Any] = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}
CALLS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/embeddings": {"model": "m", "input": "hello"},
    "/v1/responses": {"model": "m", "input": "hello", "max_output_tokens": 10},
}


@pytest.mark.proves("faults", "calls may cost more than max_cost leaves")
async def test_a_spent_cap_is_a_402_with_its_amounts_on_every_route_and_for_streams() -> None:
    streams = [(route, {**body, "stream": True}) for route, body in CALLS.items() if "embeddings" not in route]
    with trio.fail_after(LIMIT):
        async with (
            open_proxy("doubleword", max_cost="0.00000001/day", prices=GIVEN_PRICES) as proxy,
            proxy.http() as http,
        ):
            for route, body in (*CALLS.items(), *streams):
                answer = await http.post(route, json=body)
                assert (answer.status_code, answer.headers["x-should-retry"]) == (402, "false"), route
                error = answer.json()["error"]
                assert (error["type"], error["code"]) == ("budget_exceeded_error", "budget_exceeded")
                assert (error["spent"], error["reserved"], error["cap"]) == ("0", "0", "0.00000001")
                assert Decimal(error["asked"]) > Decimal(error["cap"])
                assert "of $0.00000001 a day" in error["message"]
                assert error["message"].endswith("ask who runs this proxy to raise --max-cost.")
            assert proxy.harness.emulator.statistics().batches_created == 0


async def test_page_and_metrics_say_what_is_left_of_the_cap_and_how_many_calls_it_refused() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(max_cost="0.0005/day", prices=GIVEN_PRICES) as proxy, proxy.http() as http:
            assert (await http.post("/v1/chat/completions", json=CHAT)).status_code == 200
            for _ in range(2):
                assert (await http.post("/v1/chat/completions", json={**CHAT, "max_tokens": 1_000})).status_code == 402
            status = (await http.get("/status")).json()
            metrics = (await http.get("/metrics")).text.splitlines()
            spent = Decimal((await http.get("/receipt")).json()["cost"])
    assert status["refused"] == {"max_cost": 2}
    cap = status["cap"]
    assert (cap["cap"], cap["reserved"], Decimal(cap["spent"])) == ("$0.0005 a day", "0", spent)
    assert Decimal(cap["left"]) == Decimal("0.0005") - spent
    assert 'autobatcher_refused_total{setting="max_cost"} 2.0' in metrics
    assert 'autobatcher_refused_total{setting="unknown_prices"} 0.0' in metrics
    assert f"autobatcher_cap_left_dollars {float(cap['left'])}" in metrics


async def test_an_upstream_without_credit_is_a_402_with_a_code() -> None:
    poor = FaultPlan((HttpFault(operation="files.create", status=402, body="Insufficient credits"),))
    with trio.fail_after(LIMIT):
        async with open_proxy("doubleword", emulator={"faults": poor}) as proxy, proxy.http() as http:
            answer = await http.post("/v1/chat/completions", json=CHAT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "payment_required")


async def test_a_key_that_spent_its_own_cap_is_refused_and_no_other() -> None:
    settings: dict[str, Any] = {"max_cost_per_account": "0.0005", "prices": GIVEN_PRICES, "isolate_accounts": True}
    with trio.fail_after(LIMIT):
        async with open_proxy(app={"forward_keys": True}, **settings) as proxy, proxy.http() as http:

            async def ask(key: str, most: int) -> Any:
                headers = {"authorization": f"Bearer {key}"}
                return await http.post("/v1/chat/completions", json={**CHAT, "max_tokens": most}, headers=headers)

            assert (await ask("a", 10)).status_code == 200
            refused = await ask("a", 1_000)
            assert refused.status_code == 402
            assert "--max-cost-per-key" in refused.json()["error"]["message"]
            assert (await ask("b", 10)).status_code == 200


async def test_a_call_of_unknown_price_is_refused_in_the_words_of_the_proxy() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(unknown_prices="refuse") as proxy, proxy.http() as http:
            answer = await http.post("/v1/chat/completions", json={**CHAT, "model": "nobody-sells-it"})
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["asked"], error["cap"]) == (
                402,
                "budget_exceeded",
                None,
                None,
            )
            assert "--prices" in error["message"]
            assert "prices=" not in error["message"]
            assert "unknown_prices" not in error["message"]
