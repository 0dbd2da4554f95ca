"""What a client may rely on, whether connections are ours for this version of hypercorn or its own for any other."""

from __future__ import annotations

import json
import logging
import socket
import struct

import h2.config
import h2.connection
import h2.events
import h11
import pytest
import trio

from autobatcher.emulator import FaultPlan, LineFault
from autobatcher.server import CallLimits
from autobatcher.server.hypercorn.connection import Connection, EndingContext
from autobatcher.server.hypercorn.plain_connection import PlainConnection
from autobatcher.server.hypercorn.wire import Wire
from autobatcher.server.hypercorn.worker import GRACEFUL_SECONDS
from tests.server.proxies import Proxy, connection_tasks, on_real_trio, open_proxy

LIMIT = 30


@pytest.fixture(params=[PlainConnection, Connection])
def connection(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Connection]:
    kind: type[Connection] = request.param
    monkeypatch.setattr("autobatcher.server.hypercorn.worker.PlainConnection", kind)
    return kind


pytestmark = [*on_real_trio, pytest.mark.usefixtures("connection")]


def call(text: str = "hello", *, headers: bytes = b"", version: bytes = b"1.1") -> bytes:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    head = b"POST /v1/chat/completions HTTP/%b\r\nHost: x\r\nContent-Type: application/json\r\n%b" % (version, headers)
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


async def answer(stream: trio.SocketStream) -> bytes:
    """One whole response that has a Content-Length."""
    told = b""
    while True:
        head, blank, body = told.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if blank and len(body) >= int(lengths[0].partition(b":")[2]):
            return told
        received = await stream.receive_some(65536)
        assert received, f"cut off after {told!r}"
        told += received


async def connect(proxy: Proxy) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", proxy.port)


async def until(proxy: Proxy, name: str, least: int) -> None:
    """Wait until the status says so many."""
    async with proxy.http() as http:
        while (await http.get("/status")).json()[name] < least:  # noqa: ASYNC110  (as a user would look)
            await trio.sleep(0.01)


async def test_connections_that_the_proxy_has_closed_do_not_take_each_other_for_readers() -> None:
    """As at its stop, with a pipelined request. trio remembers who waits for the descriptor -1."""
    for _ in range(2):
        stream = trio.SocketStream(trio.socket.socket())
        wire = Wire(stream, EndingContext(1.0))
        stream.socket.close()
        assert await wire.receive_some() == b""


async def test_one_connection_carries_calls_and_pages_one_after_the_other() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, await connect(proxy) as stream:
            for number in range(3):
                await stream.send_all(call(f"caller-{number}"))
                told = await answer(stream)
                assert told.startswith(b"HTTP/1.1 200")
                assert b"caller-%d" % number in told
                await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await answer(stream)).endswith(b"ok")


async def test_requests_whose_headers_were_seen_before_are_read_and_refused_each_for_itself() -> None:
    """What was read of equal headers is kept. The length of the body, the path and the key are no part of that."""
    key = b"Authorization: Bearer sesame\r\n"
    app = {"proxy_key": "sesame", "limits": CallLimits(max_body_bytes=1_000)}
    scripts = [
        (call("first", headers=key), b"200"),
        (call("x" * 2_000, headers=key), b"413"),
        (call("second", headers=key), b"200"),
        (call("third"), b"401"),
        (call("fourth", headers=b"Idempotency-Key: k\r\n" + key), b"200"),
        (call("fifth", headers=b"Idempotency-Key: k\r\n" + key), b"409"),
        (call("sixth", headers=key).replace(b"Host: x", b"Host: evil"), b"403"),
        (call("seventh", headers=key).replace(b"/v1/chat/completions", b"/v1/nowhere"), b"404"),
        (call("eighth", headers=key), b"200"),
    ]
    with trio.fail_after(LIMIT):
        async with open_proxy(app=app) as proxy, await connect(proxy) as stream:
            for script, status in scripts:
                await stream.send_all(script)
                assert (await answer(stream)).split()[1] == status, script[-60:]


async def test_a_body_that_nobody_wants_does_not_cost_the_connection() -> None:
    """It comes after its head; who is answered before it came could not send another request."""
    head = b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, await connect(proxy) as stream:
            for _ in range(3):
                await stream.send_all(head)
                await trio.sleep(0.05)
                await stream.send_all(b"hello")
                assert (await answer(stream)).startswith(b"HTTP/1.1 404")


async def test_a_response_that_is_known_comes_in_order_when_requests_come_in_one_piece() -> None:
    health = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    last = call("second", headers=b"Connection: close\r\n")
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, await connect(proxy) as stream:
            await stream.send_all(health + call("first") + health + last)
            told = b"".join([chunk async for chunk in stream])
            assert told.count(b"HTTP/1.1 200") == 4
            assert told.index(b"first") < told.index(b"second")


async def test_requests_may_come_byte_by_byte() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, await connect(proxy) as stream:
            for byte in call():
                await stream.send_all(bytes([byte]))
            assert (await answer(stream)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("ending", ["close", "half", "reset"])
async def test_a_client_that_goes_away_while_it_waits_is_noticed_at_once(ending: str) -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator={"batch_seconds": 60}) as proxy:
            stream = await connect(proxy)
            await stream.send_all(call())
            await until(proxy, "waiting", 1)
            if ending == "half":
                await stream.send_eof()
            elif ending == "reset":
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            if ending != "half":
                await stream.aclose()
            with trio.fail_after(2):
                await until(proxy, "clients_away", 1)
            await stream.aclose()


@pytest.mark.parametrize("heartbeat_seconds", [0.0, 0.1])
async def test_a_client_that_pipelines_and_goes_away_before_its_answer_leaves_no_task(heartbeat_seconds: float) -> None:
    """Nothing is read meanwhile: only a response that cannot be sent tells."""
    with trio.fail_after(LIMIT):
        limits = CallLimits(heartbeat_seconds=heartbeat_seconds)
        async with open_proxy(emulator={"batch_seconds": 0.5}, app={"limits": limits}) as proxy:
            before = connection_tasks()
            stream = await connect(proxy)
            await stream.send_all(call() + call())
            await until(proxy, "waiting", 1)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            await stream.aclose()
            while connection_tasks() > before:  # noqa: ASYNC110  (nothing tells)
                await trio.sleep(0.01)


async def received(stream: trio.SocketStream, told: bytes, seconds: float) -> bytes:
    """What comes within that time, after what was told before."""
    with trio.move_on_after(seconds):
        while more := await stream.receive_some(65536):
            told += more
    return told


async def test_a_large_answer_after_heartbeats_ends_once_and_the_next_request_is_answered() -> None:
    """Of a second end, a client would read the beginning of the next response."""
    with trio.fail_after(LIMIT):
        limits = CallLimits(heartbeat_seconds=0.1)
        opened = open_proxy(emulator={"batch_seconds": 0.5}, app={"limits": limits})
        async with opened as proxy, await connect(proxy) as stream:
            await stream.send_all(call("x" * 8_000_000))
            await until(proxy, "waiting", 1)
            async with proxy.http() as http:
                while (await http.get("/status")).json()["waiting"]:  # noqa: ASYNC110  (nobody reads meanwhile)
                    await trio.sleep(0.05)
            client = h11.Connection(h11.CLIENT)
            client.send(h11.Request(method="POST", target="/", headers=[("host", "x")]))
            client.send(h11.EndOfMessage())
            client.receive_data(await received(stream, b"", 2.0))
            while not isinstance(event := client.next_event(), h11.EndOfMessage):
                assert event not in (h11.NEED_DATA, h11.PAUSED)
            assert client.trailing_data[0] == b""
            await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await answer(stream)).startswith(b"HTTP/1.1 200")


async def test_a_page_for_a_client_that_closes_is_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    """Quart receives in one task and sends in another."""
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy:
            for path in (b"/health", b"/ready", b"/status", b"/metrics", b"/"):
                async with await connect(proxy) as stream:
                    await stream.send_all(b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
                    head, _, body = (await received(stream, b"", LIMIT)).partition(b"\r\n\r\n")
                    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                    assert int(lengths[0].partition(b":")[2]) == len(body)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_client_that_goes_away_in_the_middle_of_its_body_harms_nobody() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy:
            async with await connect(proxy) as stream:
                await stream.send_all(call()[:-20])
                await trio.sleep(0.05)
            async with await connect(proxy) as stream:
                await stream.send_all(call())
                assert (await answer(stream)).startswith(b"HTTP/1.1 200")
            assert len(proxy.harness.emulator.statistics().lines) == 1


async def test_a_response_that_was_begun_and_fails_is_cut_off() -> None:
    emulator = {"batch_seconds": 1.5, "faults": FaultPlan((LineFault(kind="fail", status=422, containing="bad"),))}
    limits = CallLimits(heartbeat_seconds=0.5)
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator=emulator, app={"limits": limits}) as proxy, await connect(proxy) as stream:
            await stream.send_all(call("bad"))
            told = b"".join([chunk async for chunk in stream])
            assert told.startswith(b"HTTP/1.1 200")
            assert not told.endswith(b"0\r\n\r\n")


async def test_an_idle_connection_ends_after_its_time_and_not_while_a_request_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("autobatcher.server.hypercorn.worker.KEEP_ALIVE_SECONDS", 0.5)
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator={"batch_seconds": 1.5}) as proxy:
            async with await connect(proxy) as stream:
                assert await stream.receive_some() == b""
            async with await connect(proxy) as stream:
                await stream.send_all(call())
                assert (await answer(stream)).startswith(b"HTTP/1.1 200")
                begun = trio.current_time()
                assert await stream.receive_some() == b""
                assert 0.3 < trio.current_time() - begun < 2


async def test_who_waits_when_the_proxy_stops_is_told_and_idle_connections_end_at_once() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator={"batch_seconds": 60}) as proxy:
            stream, idle = await connect(proxy), await connect(proxy)
            await idle.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            await answer(idle)
            await stream.send_all(call())
            await until(proxy, "waiting", 1)
            begun = trio.current_time()
            proxy.stop.set()
            assert (await answer(stream)).startswith(b"HTTP/1.1 503")
            assert await stream.receive_some() == b""
            assert await idle.receive_some() == b""
            assert trio.current_time() - begun < GRACEFUL_SECONDS / 2
            await stream.aclose()
            await idle.aclose()


async def test_nonsense_after_a_request_ends_that_connection_only() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator={"batch_seconds": 0.3}) as proxy:
            async with await connect(proxy) as stream:
                await stream.send_all(call() + b"\x00\x01nonsense\r\n\r\n")
                told = b"".join([chunk async for chunk in stream])
                assert told.startswith(b"HTTP/1.1 200")
                assert b"HTTP/1.1 400" in told
            assert len(proxy.harness.emulator.statistics().lines) == 1


async def test_a_websocket_is_refused() -> None:
    upgrade = b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, await connect(proxy) as stream:
            await stream.send_all(b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\n" + upgrade + key + b"\r\n")
            told = b"".join([chunk async for chunk in stream])
            assert told.startswith(b"HTTP/1.1 403")


@pytest.mark.proves("faults", "a front end passes on Upgrade: h2c; header names that HTTP does not allow")
async def test_an_upgrade_to_http_2_is_not_offered_since_a_front_end_may_pass_it_on() -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, await connect(proxy) as stream:
            for _ in range(2):
                await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n")
                assert (await answer(stream)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("way", ["prior knowledge", "after a request"])
async def test_http_2_is_served(way: str) -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, await connect(proxy) as stream:
            h2c = h2.connection.H2Connection(h2.config.H2Configuration())
            if way == "after a request":
                await stream.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                await answer(stream)
            h2c.initiate_connection()
            fields = [(":method", "GET"), (":path", "/health"), (":scheme", "http"), (":authority", "x")]
            h2c.send_headers(h2c.get_next_available_stream_id(), fields, end_stream=True)
            await stream.send_all(h2c.data_to_send())
            told = b""
            while b"ok" not in told:
                events = h2c.receive_data(await stream.receive_some(65536))
                told += b"".join(event.data for event in events if isinstance(event, h2.events.DataReceived))
