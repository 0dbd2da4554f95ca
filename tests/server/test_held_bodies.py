"""The bytes of all bodies are bounded, wherever they are: being received, queued, in a batch, or without a client."""

from __future__ import annotations

import gc
import gzip
import tracemalloc

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from autobatcher.server import CallLimits
from tests.harness import wait_for_event
from tests.server.proxies import on_real_trio, open_proxy
from tests.server.test_retries import connect, post, status_of, until

pytestmark = on_real_trio

LIMIT = 55
LIMITS = CallLimits(max_waiting_bytes=5_000, grace_seconds=0.2)
LARGE, OTHER = "a" * 3_000, "b" * 3_000


@pytest.mark.proves("faults", "more bytes of bodies than the proxy may hold")
async def test_a_body_is_held_while_its_request_waits_and_no_longer() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator={"batch_seconds": 1.0}, app={"limits": LIMITS}) as proxy:
            first = connect(proxy, post(LARGE))
            await wait_for_event(proxy.harness, "batch_submitted")  # it has left the queue
            assert await status_of(connect(proxy, post(OTHER))) == 503
            assert await status_of(connect(proxy, post("small"))) == 200
            assert await status_of(first) == 200
            for _ in range(3):
                assert await status_of(connect(proxy, post(OTHER))) == 200


async def test_a_body_is_held_while_it_is_received() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(app={"limits": LIMITS}) as proxy:
            slow = connect(proxy, post(LARGE)[:-100])
            await trio.sleep(0.3)
            assert await status_of(connect(proxy, post(OTHER))) == 503
            slow.close()
            await trio.sleep(0.3)
            assert await status_of(connect(proxy, post(OTHER))) == 200


async def test_a_compressed_body_counts_as_what_it_becomes() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(app={"limits": LIMITS}) as proxy, proxy.http() as http:
            headers = {"content-encoding": "gzip", "content-type": "application/json"}
            body = gzip.compress(b'{"model": "m", "prompt": "%b"}' % (b"x" * 6_000))
            assert (await http.post("/v1/completions", content=body, headers=headers)).status_code == 503


async def test_the_body_of_a_client_that_left_is_held_for_the_grace_period() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator={"batch_seconds": 60.0}, app={"limits": LIMITS}) as proxy:
            first = connect(proxy, post(LARGE))
            await until(proxy, "waiting", 1)
            first.close()
            await until(proxy, "clients_away", 0)
            await until(proxy, "waiting", 0)
            second = connect(proxy, post(OTHER))
            await until(proxy, "waiting", 1)
            second.close()


async def test_what_an_answered_connection_keeps_does_not_grow_with_its_call() -> None:
    """No limit counts it, and a connection may be idle for more than a minute."""
    count, size = 60, 60_000  # large ones cannot be sent at once

    def traced() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    async def ask(http: httpx.AsyncClient, number: int) -> None:
        body = {"model": "m", "messages": [{"role": "user", "content": f"{number}" + "x" * size}]}
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200

    with trio.fail_after(LIMIT):
        async with open_proxy(app={"limits": CallLimits(max_waiting_bytes=2 * count * size)}) as proxy:
            tracemalloc.start()
            try:
                async with proxy.http() as http:
                    async with trio.open_nursery() as clients:
                        for number in range(count):
                            clients.start_soon(ask, http, number)
                    await wait_all_tasks_blocked(0.1)
                    with_connections = traced()
                await wait_all_tasks_blocked(0.1)
                assert with_connections - traced() < count * size / 5
            finally:
                tracemalloc.stop()


async def test_answers_that_were_delivered_and_are_kept_for_retries_give_way_to_new_bodies() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(app={"limits": CallLimits(max_waiting_bytes=5_000)}) as proxy:
            for number in range(6):
                assert await status_of(connect(proxy, post("a" * 1_500, key=f"{number}"))) == 200
            assert await status_of(connect(proxy, post("a" * 1_500, key="5"))) == 200
            assert len(proxy.harness.bodies_sent()) == 6
