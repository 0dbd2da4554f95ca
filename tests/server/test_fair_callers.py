"""With forwarded keys callers are strangers: what one asks for leaves room for others, at every bound of the proxy."""

from __future__ import annotations

from functools import partial
from typing import Any

import httpx
import openai
import pytest
import trio

from autobatcher.client.header_kinds import MOST_HEADER_KINDS
from autobatcher.emulator import BatchFault, FaultPlan, HttpFault
from autobatcher.server import CallLimits
from tests.harness import ask, httpx_leaves_generators
from tests.server.proxies import Proxy, on_real_trio, open_proxy

pytestmark = [*on_real_trio, httpx_leaves_generators]

LIMIT = 55
MOST_WAITING = 20
FEWEST = 8
"""How many calls of one caller fit at least."""


@pytest.mark.proves("faults", "One caller of a proxy with forwarded keys asks for all that there is")
@pytest.mark.parametrize(
    ("limits", "settings"),
    [
        (CallLimits(max_waiting=MOST_WAITING), {}),
        (CallLimits(max_waiting_bytes=40_000), {}),
        (CallLimits(), {"max_queued_bytes": 40_000}),
        (CallLimits(), {"max_active_batches": MOST_WAITING}),
    ],
    ids=["places", "bodies", "queue", "batches"],
)
async def test_one_caller_who_asks_for_everything_keeps_no_other_waiting(
    limits: CallLimits, settings: dict[str, Any]
) -> None:
    app = {"forward_keys": True, "limits": limits}
    stuck = {"faults": FaultPlan((BatchFault(first=FEWEST, ends="stuck"),))}
    async with (
        open_proxy(emulator=stuck, app=app, batch_size=1, isolate_accounts=True, **settings) as proxy,
        _caller(proxy, "greedy") as greedy,
        _caller(proxy, "modest") as modest,
        trio.open_nursery() as nursery,
    ):
        with trio.fail_after(LIMIT):
            await _ask_for_everything(proxy, greedy, nursery)
            assert await ask(modest, "hello") == "hello"  # type: ignore[arg-type]
            nursery.cancel_scope.cancel()


async def _ask_for_everything(proxy: Proxy, greedy: openai.AsyncOpenAI, nursery: trio.Nursery) -> None:
    for number in range(3 * MOST_WAITING):
        nursery.start_soon(_ask_until_admitted, greedy, "x" * 2_000, f"model-{number}")
    async with proxy.http() as http:
        while (await http.get("/status")).json()["waiting"] < FEWEST:  # noqa: ASYNC110  (as a user would look)
            await trio.sleep(0.05)


async def _ask_until_admitted(client: Any, text: str, model: str) -> None:
    while True:
        try:
            await ask(client, text, model)
        except openai.InternalServerError:  # 503: no room
            await trio.sleep(0.2)


def _caller(proxy: Proxy, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key=key, max_retries=0)


@pytest.mark.proves("faults", "One caller of a proxy with forwarded keys asks for all that there is")
async def test_a_caller_who_spells_their_key_in_many_ways_is_one_caller() -> None:
    app = {"forward_keys": True, "limits": CallLimits(max_waiting=MOST_WAITING)}
    async with (
        open_proxy(app=app, batch_window_seconds=600, isolate_accounts=True) as proxy,
        proxy.http() as http,
        trio.open_nursery() as nursery,
    ):
        with trio.fail_after(LIMIT):
            for number in range(3 * MOST_WAITING):
                spelling = "".join(letter.upper() if number >> at & 1 else letter for at, letter in enumerate("bearer"))
                nursery.start_soon(_post, http, {"authorization": f"{spelling} greedy"}, f"model-{number}")
            await _until_waiting(http, MOST_WAITING // 2)
            nursery.start_soon(_post, http, {"authorization": "Bearer modest"}, "model")
            await _until_waiting(http, MOST_WAITING // 2 + 1)
            nursery.cancel_scope.cancel()


@pytest.mark.proves("faults", "One caller of a proxy with forwarded keys asks for all that there is")
async def test_headers_of_one_caller_leave_room_for_those_of_another() -> None:
    app = {"forward_keys": True}
    async with (
        open_proxy(app=app, batch_window_seconds=600, isolate_accounts=True) as proxy,
        proxy.http() as http,
        trio.open_nursery() as nursery,
    ):
        with trio.fail_after(LIMIT):
            for number in range(2 * MOST_HEADER_KINDS):
                nursery.start_soon(_post, http, {"authorization": "Bearer greedy", "x-user": str(number)}, "model")
            await _until_waiting(http, MOST_HEADER_KINDS)
            nursery.start_soon(_post, http, {"authorization": "Bearer modest", "x-user": "me"}, "model")
            await _until_waiting(http, MOST_HEADER_KINDS + 1)
            nursery.cancel_scope.cancel()


async def _post(http: httpx.AsyncClient, headers: dict[str, str], model: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "x"}]}
    await http.post("/v1/chat/completions", json=body, headers=headers)


async def _until_waiting(http: httpx.AsyncClient, count: int) -> None:
    """Return once so many calls wait, and no more come."""
    seen = -1
    while seen != count:
        await trio.sleep(0.2)
        seen = (await http.get("/status")).json()["waiting"]


@pytest.mark.proves("faults", "One caller of a proxy with forwarded keys asks for all that there is")
async def test_model_lookups_of_one_caller_leave_room_for_those_of_another() -> None:
    slow = {"faults": FaultPlan((HttpFault(operation="models", delay_seconds=600),))}
    async with (
        open_proxy(emulator=slow, app={"forward_keys": True}) as proxy,
        proxy.http() as http,
        trio.open_nursery() as nursery,
    ):
        look_up = partial(http.get, "/v1/models", timeout=LIMIT)
        with trio.fail_after(LIMIT):
            for _ in range(40):
                nursery.start_soon(partial(look_up, headers={"authorization": "Bearer greedy"}))
            greedy = await _lookups(proxy, 1)
            nursery.start_soon(partial(look_up, headers={"authorization": "Bearer modest"}))
            await _lookups(proxy, greedy + 1)
            nursery.cancel_scope.cancel()


async def _lookups(proxy: Proxy, least: int) -> int:
    """How many lookups are at the upstream, once there are so many, and no more come."""
    before = count = -1
    while count < least or count != before:
        before = count
        await trio.sleep(0.3)
        count = proxy.harness.emulator.statistics().http_calls.get("models", 0)
    return count
