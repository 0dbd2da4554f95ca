"""No client can bring the proxy down, and very many of them get in."""

from __future__ import annotations

import gc
import json
import logging
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
import trio
from hyperframe.frame import PriorityFrame
from priority.priority import TooManyStreamsError

from autobatcher.server.hypercorn.plain_connection import PlainConnection
from autobatcher.server.hypercorn.worker import GRACEFUL_SECONDS
from tests.server.proxies import Proxy, on_real_trio, open_proxy

pytestmark = on_real_trio
LIMIT = 40
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
BODY = json.dumps(CHAT).encode()
HEADERS = [
    (":method", "POST"),
    (":path", "/v1/chat/completions"),
    (":scheme", "http"),
    (":authority", "proxy"),
    ("content-type", "application/json"),
    ("content-length", str(len(BODY))),
]


@asynccontextmanager
async def http2(proxy: Proxy) -> AsyncGenerator[tuple[h2.connection.H2Connection, trio.SocketStream]]:
    """A bare HTTP/2 connection by prior knowledge."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration())
    connection.initiate_connection()
    stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
    async with stream:
        await stream.send_all(connection.data_to_send())
        yield connection, stream


def ask(connection: Any, count: int) -> None:
    for _ in range(count):
        number = connection.get_next_available_stream_id()
        connection.send_headers(number, HEADERS)
        connection.send_data(number, BODY, end_stream=True)


async def check_alive(proxy: Proxy) -> None:
    async with proxy.http() as client:
        assert (await client.get("/health")).text == "ok"
        answer = await client.post("/v1/embeddings", json={"model": "m", "input": "x"})
        assert answer.status_code == 200


async def test_an_http2_client_that_disconnects_with_streams_in_flight_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The connection is reset at moments all over the time in which its ten answers are being written."""
    with trio.fail_after(LIMIT), caplog.at_level(logging.WARNING):
        async with open_proxy(emulator={"batch_seconds": 0.2}) as proxy:
            for moment in range(10):
                async with http2(proxy) as (connection, stream):
                    ask(connection, 10)
                    await stream.send_all(connection.data_to_send())
                    await trio.sleep(0.2 + 0.015 * moment)
                    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await check_alive(proxy)


@pytest.mark.parametrize("failure", [KeyError(213), trio.BusyResourceError(), TooManyStreamsError()])
async def test_whatever_breaks_in_one_connection_breaks_only_that_one(
    failure: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What clients were seen to cause inside hypercorn, provoked for certain."""
    whole = PlainConnection._read_data

    async def broken(self: Any) -> None:
        if b"break me" in self._wire.received:
            raise failure
        await whole(self)

    with trio.fail_after(LIMIT), caplog.at_level(logging.WARNING):
        async with open_proxy() as proxy:
            with monkeypatch.context() as patch:
                patch.setattr(PlainConnection, "_read_data", broken)
                async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
                    await stream.send_all(b"break me")
                    assert await stream.receive_some() == b""
            await check_alive(proxy)
    assert type(failure).__name__ in caplog.text


async def test_priorities_of_streams_that_are_never_opened_hinder_no_request() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, http2(proxy) as (connection, stream):
            frames = [PriorityFrame(number, depends_on=0, stream_weight=1) for number in range(101, 2600, 2)]
            ask(connection, 1)
            await stream.send_all(b"".join(frame.serialize() for frame in frames) + connection.data_to_send())
            events: list[Any] = []
            while not any(isinstance(event, h2.events.StreamEnded) for event in events):
                events += connection.receive_data(await stream.receive_some())
            (answer,) = [event for event in events if isinstance(event, h2.events.ResponseReceived)]
            assert dict(answer.headers)[b":status"] == b"200"


async def test_more_streams_than_allowed_end_their_own_connection_only() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy:
            async with http2(proxy) as (connection, stream):
                connection.remote_settings.max_concurrent_streams = 5000  # a client that does not care
                with trio.move_on_after(10):
                    try:
                        for _ in range(12):
                            ask(connection, 100)
                            connection.outbound_flow_control_window = 2**30
                            await stream.send_all(connection.data_to_send())
                    except (trio.BrokenResourceError, h2.exceptions.H2Error):
                        pass
            await check_alive(proxy)


async def test_nonsense_on_the_wire_harms_nobody() -> None:
    nonsense = [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ]
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy:
            for line in nonsense:
                stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
                async with stream:
                    await stream.send_all(line)
                    with trio.move_on_after(0.1):
                        await stream.receive_some()
            await check_alive(proxy)


async def test_an_idle_connection_does_not_hold_up_the_end() -> None:
    stream = None
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy:
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
            await stream.send_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b"200" in await stream.receive_some()
            begun = trio.current_time()
        # The proxy has ended; the connection was open, idle, all the time.
        assert trio.current_time() - begun < GRACEFUL_SECONDS / 2
        await stream.aclose()


async def test_five_thousand_connections_at_once_get_in() -> None:
    count = 5_000
    with trio.fail_after(55):
        async with open_proxy(batch_size=count, batch_window_seconds=2.0) as proxy:
            request = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
            healthy = 0
            everyone_is_in = trio.Event()

            async def visit() -> None:
                nonlocal healthy
                stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
                async with stream:
                    await stream.send_all(request)
                    answer = await stream.receive_some()
                    healthy += b"200" in answer.split(b"\r\n")[0]
                    if healthy == count:
                        everyone_is_in.set()
                    await everyone_is_in.wait()  # all of them are open at the same time

            async with trio.open_nursery() as nursery:
                for _ in range(count):
                    nursery.start_soon(visit)
            assert healthy == count
    gc.unfreeze()


@pytest.mark.proves("faults", "a front end passes on Upgrade: h2c; header names that HTTP does not allow")
async def test_a_header_name_that_http_does_not_allow_is_refused() -> None:
    """h2 lets it pass, and no call to an upstream could have it."""
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, http2(proxy) as (connection, stream):
            connection.config.validate_outbound_headers = False
            connection.send_headers(1, [*HEADERS, ('x"a(b)', "c")])
            connection.send_data(1, BODY, end_stream=True)
            await stream.send_all(connection.data_to_send())
            status = None
            while status is None:
                events = connection.receive_data(await stream.receive_some(65536))
                status = next((dict(each.headers)[b":status"] for each in events if hasattr(each, "headers")), None)
            assert status == b"400"
            async with proxy.http() as http:
                assert (await http.get("/status")).json()["failed"] == 0
