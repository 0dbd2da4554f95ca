"""Replicas that share a journal honour one another's `Idempotency-Key`s."""

from __future__ import annotations

from typing import Any

import httpx
import trio

from tests.harness import open_harness
from tests.server.proxies import Proxy, on_real_trio, open_replica

pytestmark = on_real_trio

LIMIT = 55


async def post(proxy: Proxy, text: str, key: str = "k", caller: str = "one") -> httpx.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    headers = {"idempotency-key": key, "authorization": f"Bearer {caller}"}
    async with proxy.http() as http:
        return await http.post("/v1/chat/completions", json=body, headers=headers)


def billed(proxy: Proxy) -> list[str]:
    lines = proxy.harness.emulator.statistics().lines
    return sorted(line.body["messages"][0]["content"] for line in lines if line.billed)


async def test_requests_with_one_key_are_one_request_at_all_replicas(postgres_url: str) -> None:
    settings: dict[str, Any] = {"journal": postgres_url}
    with trio.fail_after(LIMIT):
        async with (
            open_harness(batch_seconds=2.0) as harness,
            open_replica(harness, **settings) as one,
            open_replica(harness, **settings) as other,
        ):
            found: list[httpx.Response] = []

            async def ask(proxy: Proxy) -> None:
                found.append(await post(proxy, "a"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, one)
                await trio.sleep(0.5)
                nursery.start_soon(ask, other)
                conflict = await post(other, "b")
                with trio.move_on_after(0.3):  # it leaves, and the others do not care
                    await post(other, "a")
            for proxy in (one, other):  # where it was answered before
                await ask(proxy)
                assert (await post(proxy, "b")).status_code == 409
            assert {response.status_code for response in found} == {200}
            assert len({response.content for response in found}) == 1
            assert conflict.status_code == 409
            assert conflict.json()["error"]["code"] == "idempotency_key_reused"
            assert conflict.headers["x-should-retry"] == "false"
            assert billed(one) == ["a"]
            assert (await post(other, "b", caller="two")).status_code == 200  # a key of its own
            assert billed(one) == ["a", "b"]


async def test_a_client_that_left_is_found_by_its_key_at_another_replica(postgres_url: str) -> None:
    settings: dict[str, Any] = {"journal": postgres_url, "cancel_abandoned_batches": False}
    with trio.fail_after(LIMIT):
        async with (
            open_harness(batch_seconds=2.0) as harness,
            open_replica(harness, **settings) as one,
            open_replica(harness, **settings) as other,
        ):
            with trio.move_on_after(1.0):
                await post(one, "a")
            assert (await post(other, "a")).status_code == 200
            assert (await post(one, "a")).status_code == 200
            assert billed(one) == ["a"]
