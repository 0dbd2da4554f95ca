"""Clients give up, close, and send again while the proxy is busy: each request is sent once.

A blocking call in a test stops the proxy, too, which runs in the same event loop: afterwards the disconnect and the
retry are both there to be read, in any order.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections import Counter
from typing import Any

import pytest
import trio

from autobatcher.emulator import FaultPlan, LineFault
from autobatcher.server import CallLimits
from tests.fuzz.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, block_of, frame, headers_of
from tests.harness import wait_for_event
from tests.server.proxies import Proxy, on_real_trio, open_proxy

pytestmark = on_real_trio

LIMIT = 55
CLIENTS = 20


def post(text: str = "hello", *, retry: int | None = None, key: str | None = None) -> bytes:
    content = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    head += "" if retry is None else f"x-stainless-retry-count: {retry}\r\n"
    head += "" if key is None else f"idempotency-key: {key}\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


def connect(proxy: Proxy, *requests: bytes) -> socket.socket:
    """Without a checkpoint, so that the proxy does not run meanwhile."""
    connected = socket.create_connection(("127.0.0.1", proxy.port))
    for request in requests:
        connected.sendall(request)
    return connected


async def status_of(connected: socket.socket) -> int:
    with connected:
        connected.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(connected))
        received = b""
        while b"\r\n\r\n" not in received:
            received += await stream.receive_some()
        return int(received.split()[1])


async def until(proxy: Proxy, field: str, count: int) -> None:
    async with proxy.http() as http:
        while (await http.get("/status")).json()[field] != count:  # noqa: ASYNC110  (as a user would look)
            await trio.sleep(0.02)


def sent(proxy: Proxy) -> Counter[str]:
    """How often each text was in a batch."""
    return Counter(line.body["messages"][0]["content"] for line in proxy.harness.emulator.statistics().lines)


SLOW: dict[str, Any] = {"emulator": {"batch_seconds": 1.0}, "batch_window_seconds": 0.3}


@pytest.mark.proves("faults", "a retry overtakes the disconnect of its first try")
@pytest.mark.parametrize("retry", [None, 1])
async def test_a_retry_that_is_read_before_the_disconnect_takes_its_call_over(retry: int | None) -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(**SLOW) as proxy:
            texts = [f"client {number}." for number in range(CLIENTS)]
            retries = [connect(proxy) for _ in texts]
            first = [connect(proxy, post(text)) for text in texts]
            await until(proxy, "waiting", CLIENTS)
            for connected in first:
                connected.close()
            for connected, text in zip(retries, texts, strict=True):
                connected.sendall(post(text, retry=retry))
            assert {await status_of(connected) for connected in retries} == {200}
            assert sent(proxy) == dict.fromkeys(texts, 1)


@pytest.mark.proves("faults", "a retry overtakes its first try")
async def test_a_request_whose_client_left_before_it_was_read_is_not_sent_beside_its_retry() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(**SLOW) as proxy:
            texts = [f"client {number}." for number in range(CLIENTS)]
            retries = [connect(proxy) for _ in texts]
            await trio.sleep(0.1)
            for text in texts:
                connect(proxy, post(text)).close()
            for connected, text in zip(retries, texts, strict=True):
                connected.sendall(post(text, retry=1))
            assert {await status_of(connected) for connected in retries} == {200}
            assert sent(proxy) == dict.fromkeys(texts, 1)


async def test_a_request_whose_client_left_before_it_was_read_is_sent_for_its_retry() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(**SLOW) as proxy:
            connect(proxy, post()).close()
            await wait_for_event(proxy.harness, "batch_completed")
            assert await status_of(connect(proxy, post(retry=1))) == 200
            assert sent(proxy) == {"hello": 1}


@pytest.mark.proves("faults", "a client gives up at the moment in which its answer is sent")
async def test_an_answer_that_its_client_did_not_read_is_given_to_its_retry() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(**SLOW) as proxy:
            first = connect(proxy, post())
            await until(proxy, "answered", 1)
            first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            first.close()  # with the answer unread
            assert await status_of(connect(proxy, post(retry=1))) == 200
            assert sent(proxy) == {"hello": 1}


async def test_a_request_that_equals_an_answered_one_is_sent() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(**SLOW) as proxy:
            for number in range(3):
                assert await status_of(connect(proxy, post(retry=number))) == 200
            assert sent(proxy) == {"hello": 3}


@pytest.mark.proves("faults", "the proxy is paused for longer than --grace while a client comes back")
async def test_a_retry_that_came_during_a_pause_longer_than_the_grace_period_finds_its_call() -> None:
    limits = CallLimits(grace_seconds=1.0)
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator={"batch_seconds": 4.0}, app={"limits": limits}) as proxy:
            first = connect(proxy, post())
            await wait_for_event(proxy.harness, "batch_submitted")
            first.close()
            await until(proxy, "clients_away", 1)
            retry = connect(proxy, post(retry=1))
            time.sleep(1.5)  # noqa: ASYNC251  (the pause)
            assert await status_of(retry) == 200
            assert sent(proxy) == {"hello": 1}


async def test_impatient_clients_of_a_busy_proxy_send_each_request_once() -> None:
    """`nox -s impatient` does this with 2,000 clients and processes."""

    async def ask(proxy: Proxy, text: str) -> None:
        for retry in range(3):
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
            async with stream:
                await stream.send_all(post(text, retry=retry))
                with trio.move_on_after(0.3):
                    await stream.receive_some()
                    return

    async def be_busy() -> None:
        while True:
            time.sleep(0.15)  # noqa: ASYNC251  (as work would)
            await trio.sleep(0.01)

    with trio.fail_after(LIMIT):
        async with open_proxy(**SLOW) as proxy, trio.open_nursery() as nursery:
            nursery.start_soon(be_busy)
            async with trio.open_nursery() as clients:
                for number in range(100):
                    clients.start_soon(ask, proxy, f"client {number}.")
            nursery.cancel_scope.cancel()
            await wait_for_event(proxy.harness, "batch_completed")
            await until(proxy, "queued", 0)
            await until(proxy, "waiting", 0)
            assert sent(proxy) == dict.fromkeys((f"client {number}." for number in range(100)), 1)


# ---- Idempotency-Key ----


@pytest.mark.proves("faults", "a request is sent twice with one Idempotency-Key")
async def test_requests_with_one_idempotency_key_are_one_request() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(**SLOW) as proxy:
            both = [connect(proxy, post(key="k")) for _ in range(2)]
            assert [await status_of(connected) for connected in both] == [200, 200]
            assert await status_of(connect(proxy, post(key="k"))) == 200  # it was answered before
            assert sent(proxy) == {"hello": 1}
            assert await status_of(connect(proxy, post(key="other"))) == 200
            assert sent(proxy) == {"hello": 2}


async def test_an_idempotency_key_of_another_request_is_a_conflict() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(**SLOW) as proxy:
            first = connect(proxy, post(key="k"))
            await until(proxy, "waiting", 1)
            assert await status_of(connect(proxy, post("another", key="k"))) == 409
            assert await status_of(first) == 200
            assert await status_of(connect(proxy, post("another", key="k"))) == 409
            assert sent(proxy) == {"hello": 1}


async def test_an_idempotency_key_is_kept_for_a_client_that_left_and_forgotten_after_the_grace_period() -> None:
    limits = CallLimits(grace_seconds=1.0)
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator={"batch_seconds": 0.5}, app={"limits": limits}) as proxy:
            connect(proxy, post(key="k")).close()
            await wait_for_event(proxy.harness, "batch_completed")
            assert await status_of(connect(proxy, post(key="k"))) == 200
            assert sent(proxy) == {"hello": 1}
            await trio.sleep(1.5)
            assert await status_of(connect(proxy, post("another", key="k"))) == 200


async def test_a_failure_does_not_use_an_idempotency_key_up() -> None:
    plan = FaultPlan((LineFault(kind="fail", status=400, batches=(1,)),))
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator={"faults": plan}) as proxy:
            assert await status_of(connect(proxy, post(key="k"))) == 400
            assert await status_of(connect(proxy, post(key="k"))) == 200


@pytest.mark.proves("faults", "an HTTP/2 client that reads nothing goes away while its answer waits for it")
async def test_a_retry_gets_the_answer_for_which_an_http_2_client_made_no_room() -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
    no_room = frame(SETTINGS, 0, 0, struct.pack("!HI", 4, 0))
    asked = frame(HEADERS, END_HEADERS, 1, block_of(headers_of("/v1/chat/completions", body)))
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy:
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
            await stream.send_all(PREFACE + no_room + asked + frame(DATA, END_STREAM, 1, body))
            await wait_for_event(proxy.harness, "batch_completed")
            await trio.sleep(0.3)  # the answer is on its way into a window of 0 bytes
            await stream.aclose()
            async with proxy.http() as http:
                headers = {"content-type": "application/json"}
                answer = await http.post("/v1/chat/completions", content=body, headers=headers)
            assert answer.status_code == 200
            assert sent(proxy) == {"x": 1}
