"""`/ready` through outages and refusals, and what becomes of calls meanwhile. On virtual time."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio

from autobatcher.emulator import FaultPlan, HttpFault
from autobatcher.server import CallLimits
from tests.harness import wait_for_event
from tests.server.apps import open_app

pytestmark = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)

CHAT_PATH = "/v1/chat/completions"


async def test_an_outage_takes_no_proxy_away_from_its_callers_and_a_refused_key_does() -> None:
    faults = FaultPlan(
        (
            HttpFault(operation="batches.list", first=1, status=503),  # nobody knows yet whether the key is accepted
            HttpFault(operation="batches.list", nth=(3,), status=503),
            HttpFault(operation="batches.list", nth=(4,), refuse=True),
            HttpFault(operation="batches.list", nth=(5,), status=401),
            HttpFault(operation="batches.list", nth=(6,), status=503),
        )
    )
    told: list[tuple[int, bool, str]] = []
    async with open_app(emulator={"faults": faults}) as (http, _):
        for _ in range(7):
            answer = await http.get("/ready")
            told.append((answer.status_code, answer.json()["ready"], answer.json()["reason"] or ""))
            await trio.sleep(11)
    assert [(status, is_ready) for status, is_ready, _ in told] == [
        *((503, False), (200, True), (200, True), (200, True)),
        *((503, False), (503, False), (200, True)),
    ]
    for (_, _, reason), part in zip(told, ("503", "", "503", "cannot be reached", "401", "503", ""), strict=True):
        assert part in reason, told


@pytest.mark.proves("faults", "the upstream is down for hours")
async def test_calls_in_batches_outlast_hours_of_an_outage_and_new_ones_get_a_503() -> None:
    hours = HttpFault(operation="*", from_seconds=60, until_seconds=3 * 3_600, status=503)
    early: list[httpx.Response] = []

    async def ask(http: httpx.AsyncClient, text: str, into: list[httpx.Response]) -> None:
        content: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": text}]}
        into.append(await http.post(CHAT_PATH, json=content))

    emulator, app = {"faults": FaultPlan((hours,)), "batch_seconds": 600}, {"limits": CallLimits(heartbeat_seconds=0)}
    async with open_app(emulator=emulator, app=app) as (http, harness):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, http, "early", early)
            await wait_for_event(harness, "batch_submitted")
            await trio.sleep(120)
            late: list[httpx.Response] = []
            begun = trio.current_time()
            await ask(http, "late", late)
            lasted = trio.current_time() - begun
            assert not early
        statistics = harness.emulator.statistics()
    assert early[0].json()["choices"]
    assert (late[0].status_code, late[0].headers["x-should-retry"]) == (503, "false")
    assert 600 <= lasted < 700
    assert statistics.batches_created == 1
