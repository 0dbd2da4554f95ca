"""What the proxy says its calls cost."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import pytest
import trio

from autobatcher.money.given_prices import GivenPrices
from autobatcher.money.rates import Rates
from tests.receipts import BILLED_PRICES, GIVEN_PRICES
from tests.server.proxies import on_real_trio, open_proxy

pytestmark = on_real_trio
LIMIT = 20
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


class WatchedPrices(GivenPrices):
    """Prices that remember who asked for them."""

    def __init__(self) -> None:
        super().__init__(GIVEN_PRICES)
        self.threads: set[int] = set()

    def rates(self, model: str, lane: str, window: str | None) -> Rates | None:
        self.threads.add(threading.get_ident())
        return None if model == "nobody-sells-it" else super().rates(model, lane, window)


async def test_receipt_page_and_metrics_say_what_was_billed_to_the_last_digit() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator={"prices": BILLED_PRICES}, prices=GIVEN_PRICES) as proxy, proxy.http() as http:
            for model in ("m", "m", "n"):
                assert (await http.post("/v1/chat/completions", json={**CHAT, "model": model})).status_code == 200
                await http.get("/receipt")  # must not be what the next one says
            receipt = (await http.get("/receipt")).json()
            status = (await http.get("/status")).json()
            metrics = (await http.get("/metrics")).text.splitlines()
            bill = proxy.harness.emulator.bill()
    assert (receipt["currency"], receipt["requests"], len(receipt["rows"])) == ("USD", 3, 2)
    assert Decimal(receipt["cost"]) == bill.total
    assert Decimal(receipt["list_price"]) == bill.list_total
    cost = status["cost"]
    assert [cost[name] == receipt[name] for name in ("cost", "list_price", "saving", "requests")] == [True] * 4
    assert {(row["model"], row["lane"], row["requests"]) for row in cost["models"]} == {
        ("m", "batch", 2),
        ("n", "batch", 1),
    }
    assert f'autobatcher_cost_dollars_total{{fate="delivered",lane="batch"}} {float(bill.total)}' in metrics
    assert f"autobatcher_list_price_dollars_total {float(bill.list_total)}" in metrics
    assert f"autobatcher_saved_dollars {float(bill.list_total - bill.total)}" in metrics


async def test_many_models_are_priced_off_the_event_loop_and_shown_in_part() -> None:
    """Callers choose the names of models, and a price may be the first one, which imports a library."""
    prices = WatchedPrices()
    with trio.fail_after(LIMIT):
        async with (
            open_proxy("doubleword", prices=prices) as proxy,
            proxy.http() as http,
            trio.open_nursery() as nursery,
        ):

            async def ask(model: str) -> None:
                assert (await http.post("/v1/chat/completions", json={**CHAT, "model": model})).status_code == 200

            async with trio.open_nursery() as callers:
                for model in ("nobody-sells-it", *(f"m{number}" for number in range(60))):
                    callers.start_soon(ask, model)
            for page in ("/receipt", "/status", "/metrics"):
                nursery.start_soon(http.get, page)
                nursery.start_soon(http.get, page)
    async with open_proxy() as proxy, proxy.http() as http:
        assert (await http.get("/status")).json()["cost"]["requests"] == 0  # another proxy, another receipt
    assert prices.threads
    assert threading.get_ident() not in prices.threads


async def test_what_has_no_price_is_said_to_be_unknown() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy("doubleword", prices=WatchedPrices()) as proxy, proxy.http() as http:
            for model in ("nobody-sells-it", "m"):
                await http.post("/v1/chat/completions", json={**CHAT, "model": model})
            cost = (await http.get("/status")).json()["cost"]
            metrics = (await http.get("/metrics")).text.splitlines()
    assert (cost["requests"], cost["unpriced_requests"]) == (2, 1)
    assert {row["model"]: row["cost"] is None for row in cost["models"]} == {"m": False, "nobody-sells-it": True}
    assert 'autobatcher_unpriced_requests_total{fate="delivered",lane="batch"} 1.0' in metrics


@pytest.mark.parametrize("app", [{"proxy_key": "sesame", "public_status": True}, {}], ids=["with a key", "without"])
async def test_whoever_may_read_the_status_may_read_the_receipt(app: dict[str, Any]) -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(app=app) as proxy, proxy.http() as http:
            read = [await http.get(page) for page in ("/status", "/receipt")]
            foreign = [await http.get(page, headers={"host": "evil.test"}) for page in ("/status", "/receipt")]
    assert [answer.status_code for answer in (*read, *foreign)] == [200, 200, 403, 403]
    assert len({answer.headers["cache-control"] for answer in read}) == 1
