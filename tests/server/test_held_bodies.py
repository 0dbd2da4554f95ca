"""The bytes of all bodies are bounded, wherever they are: being received, queued, in a batch, or without a client."""

from __future__ import annotations

import gzip

import pytest
import trio

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
