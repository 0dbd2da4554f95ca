"""Deadlines and lanes at the proxy."""

from __future__ import annotations

import logging
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import trio

from autobatcher import DeadlineMissedError
from autobatcher.emulator import FaultPlan, HttpFault
from autobatcher.engine.request import Request
from autobatcher.server import Report
from autobatcher.server.tally import Tally
from autobatcher.upstream.account import Account
from autobatcher.upstream.providers import OPENAI
from tests.receipts import GIVEN_PRICES
from tests.server.proxies import on_real_trio, open_proxy

pytestmark = [*on_real_trio, pytest.mark.full_price]

LIMIT = 20
HEADER = "x-autobatcher-deadline"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
LANES = ("batch", "realtime")
SLOW: dict[str, Any] = {"batch_seconds": 600}
"""An upstream whose batches answer nobody here."""


async def test_a_hurried_call_is_answered_on_another_lane_and_the_header_goes_nowhere() -> None:
    sent: list[Any] = []

    async def see(request: Any) -> None:
        sent.append(request)

    with trio.fail_after(LIMIT):
        async with open_proxy(emulator=SLOW, has_lanes=True, lanes=LANES) as proxy, proxy.http() as http:
            proxy.client.event_hooks["request"].append(see)
            for body in (CHAT, {**CHAT, "stream": True}):
                answer = await http.post("/v1/chat/completions", json=body, headers={HEADER: "5m"})
                assert (answer.status_code, answer.headers["x-autobatcher-lane"]) == (200, "realtime")
                assert "x-autobatcher-batch-id" not in answer.headers
    assert [request.url.path for request in sent] == ["/v1/chat/completions"] * 2
    assert not any(HEADER in request.headers for request in sent)


async def test_a_header_that_is_no_deadline_is_a_400_that_says_what_to_write() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, proxy.http() as http:
            for value in ("soon", "", "-5", "2020-01-01T00:00:00Z", "2126-01-01T00:00:00", "99d"):
                answer = await http.post("/v1/chat/completions", json=CHAT, headers={HEADER: value})
                assert answer.status_code == 400, value
                assert answer.headers["x-should-retry"] == "false"
                error = answer.json()["error"]
                assert (error["type"], error["param"]) == ("invalid_request_error", HEADER)
                assert HEADER in error["message"]
            for values in ([b"5m", b"6m"], [b"f\xc3\xbcnf"]):
                headers = [(HEADER.encode(), value) for value in values]
                answer = await http.post("/v1/chat/completions", json=CHAT, headers=headers)
                assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_header")
            assert proxy.harness.emulator.statistics().batches_created == 0


async def test_a_missed_deadline_is_a_504_that_asks_for_no_retry() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator=SLOW, lanes=LANES) as proxy, proxy.http() as http:
            answer = await http.post("/v1/chat/completions", json=CHAT, headers={HEADER: "100ms"})
            assert (answer.status_code, answer.headers["x-should-retry"]) == (504, "false")
            assert answer.json()["error"]["type"] == "deadline_missed_error"


async def test_a_retry_keeps_the_deadline_of_its_call_whatever_it_says_itself() -> None:
    """The deadline is no part of what makes two requests equal: a retry that says less must not be billed again."""
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator={"batch_seconds": 1.0}, lanes=["batch"]) as proxy, proxy.http() as http:
            with trio.move_on_after(0.3):
                await http.post("/v1/chat/completions", json=CHAT, headers={HEADER: "9h"})
            for value in ("10ms", "2020-01-01T00:00:00Z"):  # an instant may pass while its client is away
                with trio.move_on_after(0.3):
                    await http.post("/v1/chat/completions", json=CHAT, headers={HEADER: value})
            answer = await http.post("/v1/chat/completions", json=CHAT)
            assert (answer.status_code, answer.headers["x-autobatcher-lane"]) == (200, "batch")
            assert len(proxy.harness.bodies_sent()) == 1


async def test_lanes_escalations_and_the_time_left_are_seen_from_outside(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "autobatcher")
    report = Report()
    downgrade = HttpFault(operation="flex", nth=(1,), service_tier="default")
    emulator = {**SLOW, "faults": FaultPlan((downgrade,))}
    has_begun = trio.Event()

    def take_event(fields: dict[str, Any]) -> None:
        report.take_event(fields)
        if fields["event"] == "batch_submitted":
            has_begun.set()

    watched: dict[str, Any] = {"app": {"report": report}, "batch_event_handler": take_event, "prices": GIVEN_PRICES}
    with trio.fail_after(LIMIT):
        async with (
            open_proxy(emulator=emulator, has_lanes=True, lanes=("batch", "flex"), **watched) as proxy,
            proxy.http() as http,
            trio.open_nursery() as patient,
        ):
            flex = [await http.post("/v1/chat/completions", json=CHAT, headers={HEADER: "5m"}) for _ in range(2)]
            patient.start_soon(partial(http.post, "/v1/chat/completions", json=CHAT))
            await has_begun.wait()
            status = (await http.get("/status")).json()
            metrics = (await http.get("/metrics")).text
            patient.cancel_scope.cancel()
    assert [answer.headers["x-autobatcher-lane"] for answer in flex] == ["realtime", "flex"]
    assert status["lanes"] == {"realtime": 1, "flex": 1}
    assert (status["escalated"], status["deadlines_missed"], status["lane_requests"]) == (1, 0, 0)
    usage = flex[1].json()["usage"]
    saved = usage["prompt_tokens"] * Decimal("0.76") + usage["completion_tokens"] * Decimal("2.08")
    assert Decimal(status["cost"]["saving"]) == saved / 1_000_000  # nothing at the full price
    (batch,) = status["batches"]
    assert 0 < batch["remaining_seconds"] < 3_600
    for line in (
        'autobatcher_answers_total{lane="flex"} 1.0',
        'autobatcher_escalations_total{from="flex",to="realtime"} 1.0',
        "autobatcher_deadlines_missed_total 0.0",
        "autobatcher_lane_requests 0.0",
    ):
        assert line in metrics.splitlines()
    (said,) = [record.getMessage() for record in caplog.records if "lane" in record.getMessage()]
    assert "1 request went on from the flex lane to realtime" in said
    assert "hello" not in caplog.text


async def test_missed_deadlines_are_counted() -> None:
    tally = Tally()
    request = Request(
        account=Account(base_url="http://x.test/v1", provider=OPENAI), endpoint="/v1/embeddings", body=b"{}", model="m"
    )
    request.settle(DeadlineMissedError("The deadline of this call has passed."))
    tally.take(request, 1.0)
    assert (tally.deadlines_missed, tally.failed, tally.lanes) == (1, 1, {})
