"""With forwarded keys callers are strangers: what one asks for leaves room for others, at every bound of the proxy."""

from __future__ import annotations

from typing import Any

import openai
import pytest
import trio

from autobatcher.emulator import BatchFault, FaultPlan
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
