"""What one client can take of memory, of the event loop, and of connections."""

from __future__ import annotations

import gzip
import json
import socket
import time
import tracemalloc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import h2.events
import pytest
import trio
from hyperframe.frame import DataFrame, Frame, PingFrame, SettingsFrame, WindowUpdateFrame

from autobatcher.server import CallLimits
from tests.server.proxies import on_real_trio, open_proxy
from tests.server.test_abuse import HEADERS, ask, check_alive, http2
from tests.server.test_retries import connect, post, status_of, until

pytestmark = on_real_trio
LIMIT = 110

LISTS = b"[" + b",".join([b"[]"] * 3_000_000) + b"]"
PROSE = 'Well, then: [he] said, "No", and left. ' * 400_000
TOKENS = b"[" + b",".join([b"123"] * 8191) + b"]"


@asynccontextmanager
async def measured(costs: dict[str, float]) -> AsyncGenerator[None]:
    """How much memory is taken at most inside the block, in MB, and for how long the event loop computes, in ms."""

    async def look() -> None:
        last = time.thread_time()  # of this thread alone: the machine may be busy with others
        while True:
            await trio.sleep(0.001)
            now = time.thread_time()
            costs["ms"] = max(costs["ms"], 1000 * (now - last))
            last = now

    costs["ms"], before = 0.0, tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        yield
        nursery.cancel_scope.cancel()
    costs["mb"] = (tracemalloc.get_traced_memory()[1] - before) / 1e6


def send(
    port: int, body: bytes, *, endpoint: str = "/v1/chat/completions", is_zipped: bool = False, seconds: float
) -> bytes:
    """The beginning of the response; b"" if the proxy waits for the batch. For a thread of its own."""
    coding = b"content-encoding: gzip\r\n" if is_zipped else b""
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(seconds)
        connection.sendall(head % (endpoint.encode(), coding, len(body)))
        connection.sendall(body)
        try:
            return connection.recv(65536)
        except TimeoutError:
            return b""


@pytest.mark.proves("faults", "a body with millions of lists, levels, names or bytes, compressed or not")
async def test_no_body_takes_more_than_a_few_times_its_size_or_holds_up_the_others() -> None:
    chat: Any = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    head = json.dumps(chat).encode()[:-1]
    names = b",".join(b'"%d":1' % number for number in range(250_000))
    bombs = {
        "lists": (head + b',"x":' + LISTS + b"}", b"400"),
        "stream": (head + b',"stream":[' + b"1," * 4_000_000 + b"1]}", b"400"),
        "options": (head + b',"stream":true,"stream_options":[' + b"1," * 4_000_000 + b"1]}", b""),
        "a name": (json.dumps({**chat, "model": "m" * 2_000_000}).encode(), b"400"),
        "names": (head + b',"stream":true,' + names + b"}", b"400"),
        "hard numbers": (head + b',"x":[' + b"5e-324," * 199_000 + b"1]}", b""),
        "levels": (head + b',"x":' + b"[" * 751 + b"]" * 751 + b"}", b"400"),
        "numbers": (head + b',"x":[' + b"1," * 4_000_000 + b"1]}", b""),
        "prose": (json.dumps({**chat, "messages": [{"role": "user", "content": PROSE}]}).encode(), b""),
        "streamed prose": (json.dumps({**chat, "stream": True, "messages": [{"content": PROSE}]}).encode(), b""),
    }
    with trio.fail_after(LIMIT):
        async with open_proxy(batch_window_seconds=600) as proxy:
            tracemalloc.start()
            try:
                for name, (body, status) in bombs.items():
                    costs: dict[str, float] = {}
                    zipped = gzip.compress(body, 1)
                    async with measured(costs):
                        told = await trio.to_thread.run_sync(
                            partial(send, proxy.port, zipped, is_zipped=True, seconds=20 if status else 1)
                        )
                    assert told.split(b" ")[1:2] == [status] * bool(status), (name, told)
                    assert costs["mb"] < 3.5 * len(body) / 1e6 + 10, (name, costs)
                    assert costs["ms"] < 250, (name, costs)  # tracing triples it
            finally:
                tracemalloc.stop()


@pytest.mark.proves("faults", "a compressed body of millions of empty pieces, or of nothing without end")
async def test_a_body_of_millions_of_gzip_members_is_refused_and_holds_up_nobody() -> None:
    costs: dict[str, float] = {}
    members = gzip.compress(b"") * 500_000
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, measured(costs):
            told = await trio.to_thread.run_sync(partial(send, proxy.port, members, is_zipped=True, seconds=20))
    assert told.split(b" ")[1:2] == [b"400"], told
    assert b"members of gzip" in told or b"nothing comes" in told
    assert costs["ms"] < 250, costs


async def test_an_honest_body_of_sixty_megabytes_goes_through() -> None:
    body = b'{"model":"m","input":[' + b",".join([TOKENS] * 1900) + b"]}"
    costs: dict[str, float] = {}
    with trio.fail_after(LIMIT):
        async with open_proxy(batch_window_seconds=600) as proxy, measured(costs):
            await trio.to_thread.run_sync(
                partial(send, proxy.port, body, endpoint="/v1/embeddings", seconds=4), abandon_on_cancel=True
            )
            async with proxy.http() as http:
                assert (await http.get("/status")).json()["queued"] == 1
    assert costs["ms"] < 250, costs


async def test_a_name_that_comes_twice_makes_another_request() -> None:
    once = b'{"model":"m","messages":[{"role":"user","content":"x"}],"seed":1}'
    headers = {"content-type": "application/json", "idempotency-key": "k"}
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, proxy.http() as http:
            for body, status in ((once, 200), (once.replace(b'"seed"', b'"seed":2,"seed"'), 409), (once, 200)):
                answer = await http.post("/v1/chat/completions", content=body, headers=headers)
                assert answer.status_code == status, answer.text
            streamed = once.replace(b'"seed"', b'"stream":true,"seed":2,"seed"')
            answer = await http.post("/v1/chat/completions", content=streamed, headers=headers)
            assert answer.status_code == 400
            assert "twice" in answer.text


# ---- bodies that arrive ----


@pytest.mark.proves("faults", "bodies that never end, of many clients")
async def test_bodies_that_arrive_count_as_queued() -> None:
    whole = post("x" * 25_000)
    with trio.fail_after(LIMIT):
        async with open_proxy(max_queued_bytes=100_000) as proxy:
            clients = [connect(proxy, whole[:-10]) for _ in range(40)]
            await trio.sleep(0.5)  # what a client has sent cannot be seen from outside
            assert await status_of(connect(proxy, whole)) == 503
            for client in clients:
                client.sendall(whole[-10:])
            statuses = [await status_of(client) for client in clients]
            assert [statuses.count(200), statuses.count(503)] in ([3, 37], [4, 36])
            assert await status_of(connect(proxy, whole)) == 200


async def test_a_body_that_can_never_fit_is_told_so() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(app={"limits": CallLimits(max_waiting_bytes=1_000)}) as proxy, proxy.http() as http:
            answer = await http.post("/v1/completions", json={"model": "m", "prompt": "x" * 2_000})
            assert answer.status_code == 503
            assert "--max-waiting-bytes" in answer.text
            assert answer.headers["x-should-retry"] == "false"


async def test_a_body_in_crumbs_takes_its_size_and_does_not_hold_up_the_others() -> None:
    crumbs = b"".join(b"2\r\n%b\r\n" % b"xy" for _ in range(40_000))
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    costs: dict[str, float] = {}
    tracemalloc.start()
    try:
        with trio.fail_after(LIMIT):
            async with (
                open_proxy() as proxy,
                measured(costs),
                await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream,
            ):
                await stream.send_all(head + crumbs + b"0\r\n\r\n")
                assert b" 400 " in await stream.receive_some()
    finally:
        tracemalloc.stop()
    assert costs["mb"] < 10, costs
    assert costs["ms"] < 250, costs


async def test_requests_without_end_in_one_piece_do_not_hold_up_the_others() -> None:
    refused = b"GET /v1/completions HTTP/1.1\r\nhost: x\r\n\r\n"
    costs: dict[str, float] = {}
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, measured(costs), trio.open_nursery() as nursery:
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
            async with stream:
                nursery.start_soon(_send_if_possible, stream, refused * 3_000)
                answers = 0
                while answers < 3_000:
                    answers += (await stream.receive_some()).count(b"HTTP/1.1 405")
    assert costs["ms"] < 50, costs


# ---- HTTP/2 ----


def frames(kind: str) -> bytes:
    """Ten thousand frames that carry no request on."""
    frame: Frame = {
        "ping": PingFrame(0, opaque_data=b"12345678"),
        "settings": SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 70_000}),
        "window": WindowUpdateFrame(0, window_increment=1),
        "empty data": DataFrame(1, data=b""),
    }[kind]
    return frame.serialize() * 10_000


async def ends(stream: trio.SocketStream) -> bool:
    """Whether the proxy closes the connection. What it sends until then is read."""
    with trio.move_on_after(10):
        try:
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            pass
        return True
    return False


@pytest.mark.proves("faults", "a flood of HTTP/2 frames, or an HTTP/2 client that reads nothing")
async def test_floods_of_frames_end_their_connection(caplog: pytest.LogCaptureFixture) -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy:
            for kind in ("ping", "settings", "window", "empty data"):
                costs: dict[str, float] = {}
                async with http2(proxy) as (connection, stream), measured(costs), trio.open_nursery() as nursery:
                    connection.send_headers(1, HEADERS[:-1])
                    nursery.start_soon(_send_if_possible, stream, connection.data_to_send() + frames(kind))
                    assert await ends(stream), kind
                    nursery.cancel_scope.cancel()
                assert costs["ms"] < 100, (kind, costs)
            assert caplog.text.count("flood") == 4
            await check_alive(proxy)


async def _send_if_possible(stream: trio.SocketStream, content: bytes) -> None:
    with suppress(trio.BrokenResourceError):
        await stream.send_all(content)


async def test_rapid_resets_end_their_connection() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, http2(proxy) as (connection, stream), trio.open_nursery() as nursery:
            for _ in range(5_000):
                number = connection.get_next_available_stream_id()
                connection.send_headers(number, HEADERS)
                connection.reset_stream(number)
            nursery.start_soon(_send_if_possible, stream, connection.data_to_send())
            assert await ends(stream)
            nursery.cancel_scope.cancel()


async def test_answers_earn_what_requests_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autobatcher.server.hypercorn.frame_budget.MOST_FRAMES", 120)
    monkeypatch.setattr("autobatcher.server.hypercorn.frame_budget.FRAMES_PER_SECOND", 0.0)
    with trio.fail_after(LIMIT):
        async with open_proxy(batch_size=25) as proxy, http2(proxy) as (connection, stream):
            asked = answered = 0
            while answered < 300:
                if asked - answered <= 25 and asked < 300:
                    ask(connection, 25)
                    asked += 25
                await stream.send_all(connection.data_to_send())
                for event in connection.receive_data(await stream.receive_some()):
                    answered += isinstance(event, h2.events.StreamEnded)
                    if isinstance(event, h2.events.DataReceived):
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)


async def test_an_http2_connection_without_a_request_ends_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autobatcher.server.hypercorn.worker.KEEP_ALIVE_SECONDS", 0.3)
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, http2(proxy) as (_, stream):
            assert await ends(stream)


async def test_the_answer_of_a_client_that_never_reads_it_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autobatcher.server.hypercorn.sends.STALLED_SECONDS", 0.3)
    text = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 50_000}]}).encode()
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy, http2(proxy) as (connection, stream):
            connection.update_settings({SettingsFrame.INITIAL_WINDOW_SIZE: 0})
            connection.send_headers(1, [*HEADERS[:-1], ("content-length", str(len(text)))])
            for begin in range(0, len(text), 16_000):
                connection.send_data(1, text[begin : begin + 16_000], end_stream=begin + 16_000 >= len(text))
            await stream.send_all(connection.data_to_send())
            while True:
                events = connection.receive_data(await stream.receive_some())
                if any(isinstance(event, h2.events.StreamReset) for event in events):
                    break
                await stream.send_all(connection.data_to_send())
            await until(proxy, "waiting", 0)
