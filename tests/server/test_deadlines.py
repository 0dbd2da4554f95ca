"""Deadlines and lanes at the proxy."""

from __future__ import annotations

from typing import Any

import pytest
import trio

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
            for values in (["5m", "6m"], [b"f\xc3\xbcnf"]):
                answer = await http.post("/v1/chat/completions", json=CHAT, headers=[(HEADER, v) for v in values])
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
