"""Clients give up and come back; load balancers cut silence. One request stays one line of a batch."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import openai
import pytest
import trio

from autobatcher.emulator import FaultPlan, LineFault
from autobatcher.engine.digest import digest_of
from autobatcher.engine.request import Request
from autobatcher.server import CallLimits
from autobatcher.server.heartbeat import heartbeat_seconds, next_wait, patience
from autobatcher.server.hypercorn.peer import Peer
from autobatcher.server.pending_call import Client, PendingCall
from autobatcher.server.pending_calls import ANSWERED_AT_ONCE, PendingCalls
from tests.harness import wait_for_event
from tests.server.proxies import Proxy, on_real_trio, open_proxy

LIMIT = 55
READ_TIMEOUT = 2.0
BATCH_SECONDS = 20.0  # ten read timeouts, as a batch of two hours is to the SDK's ten minutes
MODULES = Path(os.environ.get("NODE_MODULES_FOR_TESTS", ""))
real = [*on_real_trio, pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")]


def body(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


# ---- heartbeat intervals: pure ----


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 50.0),
        ({"x-stainless-read-timeout": "600"}, 50.0),
        ({"x-stainless-read-timeout": "30"}, 20.0),
        ({"x-stainless-read-timeout": "2"}, 1.0),
        ({"x-stainless-timeout": "4"}, 2.0),
        ({"x-stainless-read-timeout": "0.00001"}, 0.25),
        ({"x-stainless-read-timeout": "nonsense"}, 50.0),
        ({"x-stainless-read-timeout": "-1"}, 50.0),
        ({"user-agent": "node"}, 50.0),
    ],
)
def test_a_heartbeat_comes_before_the_client_times_out(headers: dict[str, str], seconds: float) -> None:
    assert heartbeat_seconds(patience(headers), 50.0) == seconds


def test_a_longer_interval_can_be_configured_but_not_for_node() -> None:
    assert heartbeat_seconds(patience({}), 1000.0) == 1000.0
    assert heartbeat_seconds(patience({"user-agent": "OpenAI/JS 6.49.0"}), 1000.0) == 290.0
    assert heartbeat_seconds(patience({"x-stainless-read-timeout": "2"}), 0.0) is None


def test_heartbeats_of_clients_that_came_together_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autobatcher.upstream.back_off.JITTER", 0.2)
    moments = Counter(int(next_wait(50.0)) for _ in range(10_000))
    assert max(moments.values()) < 2_000  # of 10,000 in a second; with 19,000 all at once, the others waited for 1.3 s
    assert max(moments) < 50


# ---- pending calls: virtual time ----


async def request(text: str = "x") -> Request:
    from tests.engine.test_windows import account, make

    return await make(account(), body=json.dumps(body(text)).encode())


def digest(request: Request, caller: str = "a", **other: Any) -> bytes:
    return digest_of(other.get("endpoint", request.endpoint), other.get("body", request.body), caller.encode())


def waiting(calls: PendingCalls, request: Request) -> PendingCall:
    return calls.add(request, digest(request), Client(Peer()))


async def test_a_client_is_reattached_only_to_a_call_without_one_and_to_each_only_once() -> None:
    pending_calls = PendingCalls(grace_seconds=10, most=100)
    calls = [waiting(pending_calls, await request()) for _ in range(3)]
    one, client = calls[0].request, Client(Peer())
    assert pending_calls.reattach(digest(one), client) is None
    pending_calls.detach(calls[1], calls[1].clients[0])
    shuffled = json.dumps(dict(reversed(body("x").items())), indent=2).encode()
    assert pending_calls.reattach(digest(one, "b"), client) is None
    assert pending_calls.reattach(digest(one, endpoint="/v1/responses"), client) is None
    assert pending_calls.reattach(digest(one, body=json.dumps(body("y")).encode()), client) is None
    assert pending_calls.reattach(digest(one, body=shuffled), client) is calls[1]
    assert pending_calls.reattach(digest(one, body=shuffled), client) is None
    assert len(pending_calls) == 3


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_clients_whose_answers_come_together_are_resumed_a_few_at_a_time() -> None:
    pending_calls = PendingCalls(grace_seconds=10, most=1000)
    async with anyio.create_task_group() as nursery:
        await nursery.start(pending_calls.run)
        calls = [waiting(pending_calls, await request()) for _ in range(3 * ANSWERED_AT_ONCE)]
        scopes = [trio.CancelScope() for _ in calls]
        for call, scope in zip(calls, scopes, strict=True):
            call.clients[0].resume = scope.cancel
            pending_calls.on_outcome(call)
        before = resumed = 0
        for _ in range(8):
            assert resumed - before <= 2 * ANSWERED_AT_ONCE  # two turns: the order within a pass varies
            await anyio.lowlevel.checkpoint()
            before, resumed = resumed, sum(scope.cancel_called for scope in scopes)
        assert resumed == len(calls)
        nursery.cancel_scope.cancel()


async def test_a_call_is_given_up_when_its_client_does_not_come_back_in_time() -> None:
    pending_calls = PendingCalls(grace_seconds=10, most=100)
    async with anyio.create_task_group() as nursery:
        await nursery.start(pending_calls.run)
        first, second = waiting(pending_calls, await request("1")), waiting(pending_calls, await request("2"))
        pending_calls.detach(first, first.clients[0])
        await anyio.sleep(5)
        assert pending_calls.reattach(first.digest, Client(Peer())) is first
        pending_calls.detach(second, second.clients[0])
        await anyio.sleep(1)
        pending_calls.detach(first, first.clients[0])  # again: its time begins anew
        await anyio.sleep(9.5)
        assert (len(pending_calls), pending_calls.detached_count) == (1, 1)
        await anyio.sleep(1)
        assert (len(pending_calls), pending_calls.detached_count) == (0, 0)
        nursery.cancel_scope.cancel()


# ---- the official clients, with a patience of a tenth of the batch ----


async def python_outcome(url: str, text: str, *, stream: bool) -> str:
    """What the official SDK gives or raises, with its own retries."""
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="dummy", timeout=READ_TIMEOUT) as client:
        try:
            if not stream:
                completion = await client.chat.completions.create(**body(text))
                return completion.choices[0].message.content or ""
            chunks = [chunk async for chunk in await client.chat.completions.create(**body(text), stream=True)]
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        except openai.APIStatusError as error:
            return f"{error.status_code}"
        except openai.APIError as error:
            return f"error event: {error.message}"


NODE = """
import OpenAI from "openai";
const [url, prefix] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url + "/v1", apiKey: "dummy", timeout: 2000 });
async function ask(text, stream) {
  const messages = [{ role: "user", content: text }];
  try {
    if (!stream) return (await client.chat.completions.create({ model: "m", messages })).choices[0].message.content;
    let told = "";
    for await (const chunk of await client.chat.completions.create({ model: "m", messages, stream: true }))
      told += chunk.choices[0]?.delta?.content ?? "";
    return told;
  } catch (error) {
    return error.status ? String(error.status) : "error event: " + error.message;
  }
}
const texts = ["plain good", "stream good", "plain bad", "stream bad"].map((text) => `${prefix} ${text}`);
const told = await Promise.all(texts.map((text) => ask(text, text.includes("stream"))));
// A body that was cut off is an error of this SDK, which it does not try again by itself: so the program does.
if (told[2] == "error event: terminated") told[2] = await ask(texts[2], false);
console.log(JSON.stringify(Object.fromEntries(texts.map((text, i) => [text, told[i]]))));
"""

NGINX = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{ worker_connections 200; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1; proxy_read_timeout 5s; proxy_send_timeout 5s;
    location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
  }}
}}
"""


@asynccontextmanager
async def nginx(proxy: Proxy, folder: Path) -> AsyncGenerator[str]:
    """The URL of an nginx in front of the proxy, as it comes: it buffers, and cuts after five seconds of silence."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, upstream=proxy.port))
    process = await trio.lowlevel.open_process(["nginx", "-c", str(config), "-p", str(folder)])
    try:
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                break
            except OSError:
                await trio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


class Asked:
    """What each client was told, by its text."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}

    async def python(self, url: str, prefix: str) -> None:
        async with trio.open_nursery() as nursery:
            for text in ("plain good", "stream good", "plain bad", "stream bad"):
                nursery.start_soon(self._ask, url, f"{prefix} {text}")

    async def _ask(self, url: str, text: str) -> None:
        self.told[text] = await python_outcome(url, text, stream="stream" in text)

    async def node(self, url: str, prefix: str, folder: Path) -> None:
        script = folder / f"{prefix}.mjs"
        script.write_text(NODE)
        if not (folder / "node_modules").exists():
            (folder / "node_modules").symlink_to(MODULES)
        done = await trio.run_process(["node", str(script), url, prefix], capture_stdout=True)
        self.told |= json.loads(done.stdout)


class TestRealClients:
    pytestmark = real

    @pytest.mark.skipif(not (MODULES / "openai").is_dir(), reason="NODE_MODULES_FOR_TESTS has no openai")
    @pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
    async def test_impatient_clients_are_answered_and_billed_once_directly_and_through_nginx(
        self, tmp_path: Path
    ) -> None:
        plan = FaultPlan((LineFault(kind="fail", status=422, containing="bad"),))
        emulator = {"batch_seconds": BATCH_SECONDS, "faults": plan}
        limits = CallLimits(heartbeat_seconds=1.0)  # Node's SDK does not say how long it waits
        asked = Asked()
        with trio.fail_after(LIMIT):
            async with (
                open_proxy(emulator=emulator, app={"limits": limits}, batch_window_seconds=1.0) as proxy,
                nginx(proxy, tmp_path) as front,
            ):
                async with trio.open_nursery() as nursery:
                    for name, url in (("direct", proxy.url), ("nginx", front)):
                        nursery.start_soon(asked.python, url, f"python {name}")
                        nursery.start_soon(asked.node, url, f"node {name}", tmp_path)
                statistics = proxy.harness.emulator.statistics()
        assert len(asked.told) == 16
        for text, outcome in asked.told.items():
            if "good" in text:
                assert outcome == text
            elif "plain" in text:
                assert outcome == "422", text
            else:
                assert outcome.startswith("error event: "), text
        texts = [line.body["messages"][0]["content"] for line in statistics.lines]
        assert sorted(texts) == sorted(asked.told)  # each once, whatever its client sent how often
        assert set(statistics.billed.values()) == {1}
        assert not statistics.realtime_calls

    async def test_two_hundred_clients_killed_and_started_again_are_billed_once(self) -> None:
        emulator = {"batch_seconds": 6}
        with trio.fail_after(LIMIT):
            async with open_proxy(emulator=emulator, batch_window_seconds=1.0, batch_size=1000) as proxy:
                command = [sys.executable, "-c", MANY, f"{proxy.url}/v1"]
                first = await trio.lowlevel.open_process(command, stdout=subprocess.DEVNULL)
                await wait_for_event(proxy.harness, "batch_submitted")
                first.kill()
                await first.wait()
                done = await trio.run_process(command, capture_stdout=True)
                assert json.loads(done.stdout) == 200
                statistics = proxy.harness.emulator.statistics()
        assert len(statistics.lines) == 200
        assert set(statistics.billed.values()) == {1}

    async def test_identical_requests_from_different_clients_are_never_merged(self) -> None:
        with trio.fail_after(LIMIT):
            async with open_proxy(emulator={"batch_seconds": 1}) as proxy, proxy.http() as http:
                async with trio.open_nursery() as nursery:
                    for _ in range(50):
                        nursery.start_soon(lambda: http.post("/v1/chat/completions", json=body()))
                assert len(proxy.harness.emulator.statistics().lines) == 50

    async def test_an_answer_whose_client_left_is_kept_for_its_retry(self) -> None:
        with trio.fail_after(LIMIT):
            async with open_proxy(emulator={"batch_seconds": 1}) as proxy, proxy.http() as http:
                with trio.move_on_after(0.5):
                    await http.post("/v1/chat/completions", json=body())
                await wait_for_event(proxy.harness, "batch_completed")
                answer = await http.post("/v1/chat/completions", json=body())
                assert answer.json()["choices"][0]["message"]["content"] == "hello"
                assert len(proxy.harness.emulator.statistics().lines) == 1
                assert (await http.get("/status")).json()["reattached"] == 1

    async def test_an_error_keeps_its_status_before_the_first_heartbeat(self) -> None:
        plan = FaultPlan((LineFault(kind="fail", status=404),))
        with trio.fail_after(LIMIT):
            async with open_proxy(emulator={"faults": plan}) as proxy, proxy.http() as http:
                assert (await http.post("/v1/chat/completions", json=body())).status_code == 404
                answer = await http.post("/v1/chat/completions", json=body(stream=True))
                assert answer.status_code == 404

    async def test_a_failure_after_a_heartbeat_cuts_the_response_off_and_a_retry_gets_the_error(self) -> None:
        plan = FaultPlan((LineFault(kind="fail", status=404),))
        quick = {"limits": CallLimits(heartbeat_seconds=0.3)}
        with trio.fail_after(LIMIT):
            async with open_proxy(emulator={"batch_seconds": 1.5, "faults": plan}, app=quick) as proxy:
                async with proxy.http() as http:
                    with pytest.raises(httpx.RemoteProtocolError):
                        await http.post("/v1/chat/completions", json=body())
                    assert (await http.post("/v1/chat/completions", json=body())).status_code == 404
                assert len(proxy.harness.emulator.statistics().lines) == 1

    async def test_heartbeats_are_regular_and_leave_the_answer_intact(self) -> None:
        quick = {"limits": CallLimits(heartbeat_seconds=0.2)}
        with trio.fail_after(LIMIT):
            async with open_proxy(emulator={"batch_seconds": 1.5}, app=quick) as proxy, proxy.http() as http:
                plain = await http.post("/v1/chat/completions", json=body())
                assert plain.content.startswith(b"\n" * 4)
                assert plain.json()["choices"][0]["message"]["content"] == "hello"
                streamed = await http.post("/v1/chat/completions", json=body("other", stream=True))
                assert streamed.text.startswith(": ping\n\n" * 4)
                assert streamed.text.endswith("data: [DONE]\n\n")

    async def test_no_heartbeats_where_they_are_disabled_or_impossible(self) -> None:
        with trio.fail_after(LIMIT):
            off = {"limits": CallLimits(heartbeat_seconds=0)}
            async with open_proxy(emulator={"batch_seconds": 1}, app=off) as proxy, proxy.http() as http:
                headers = {"x-stainless-read-timeout": "0.2"}
                answer = await http.post("/v1/chat/completions", json=body(), headers=headers)
                assert answer.content.startswith(b"{")
            quick = {"limits": CallLimits(heartbeat_seconds=0.2)}
            async with open_proxy(emulator={"batch_seconds": 1}, app=quick) as proxy:
                answer10 = await raw(proxy, b"POST", json.dumps(body()).encode(), version=b"1.0")
                assert b"\r\n\r\n{" in answer10

    async def test_a_caller_with_another_key_is_not_reattached(self) -> None:
        with trio.fail_after(LIMIT):
            async with open_proxy(emulator={"batch_seconds": 1}) as proxy, proxy.http() as http:
                with trio.move_on_after(0.5):
                    await http.post("/v1/chat/completions", json=body(), headers={"authorization": "Bearer a"})
                await http.post("/v1/chat/completions", json=body(), headers={"authorization": "Bearer b"})
                assert len(proxy.harness.emulator.statistics().lines) == 2


MANY = """
import asyncio, sys, httpx
async def main():
    limits = httpx.Limits(max_connections=300)
    async with httpx.AsyncClient(base_url=sys.argv[1], timeout=60, limits=limits) as http:
        async def ask(i):
            body = {"model": "m", "messages": [{"role": "user", "content": f"client {i}."}]}
            answer = await http.post("/chat/completions", json=body)
            return answer.json()["choices"][0]["message"]["content"] == f"client {i}."
        print(sum(await asyncio.gather(*(ask(i) for i in range(200)))))
asyncio.run(main())
"""


# ---- bodies and limits ----


async def raw(proxy: Proxy, method: bytes, content: bytes, *, version: bytes = b"1.1", headers: bytes = b"") -> bytes:
    """One request written by hand, and all that comes back until the proxy closes."""
    head = b"%b /v1/chat/completions HTTP/%b\r\nHost: x\r\nConnection: close\r\n" % (method, version)
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n%b\r\n" % (len(content), headers)
    async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        await stream.send_all(head + content)
        return b"".join([chunk async for chunk in stream])


class TestBodies:
    pytestmark = real

    @pytest.mark.parametrize(
        "content",
        [
            b'{"model": "m", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
            b"[" * 100_000,
            b'{"model": "m", "messages": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
            b"",
            b"null",
            b"[]",
            b'{"model": 5}',
            b'{"model": "m"',
            b'{"messages": []}',
        ],
        ids=["utf-8", "open brackets", "deep", "empty", "null", "list", "odd model", "cut", "no model"],
    )
    async def test_what_is_no_request_is_a_clear_400_and_spoils_nothing(self, content: bytes) -> None:
        headers = {"content-type": "application/json"}
        with trio.fail_after(LIMIT):
            async with open_proxy() as proxy, proxy.http() as http:
                answer = await http.post("/v1/chat/completions", content=content, headers=headers)
                assert answer.status_code == 400
                assert answer.json()["error"]["message"]
                assert (await http.post("/v1/chat/completions", json=body())).status_code == 200

    async def test_duplicate_keys_pass_as_they_are(self) -> None:
        content = b'{"model": "m", "model": "n", "messages": [{"role": "user", "content": "hello"}]}'
        with trio.fail_after(LIMIT):
            async with open_proxy() as proxy, proxy.http() as http:
                headers = {"content-type": "application/json"}
                assert (await http.post("/v1/chat/completions", content=content, headers=headers)).status_code == 200
                assert proxy.harness.emulator.statistics().lines[0].raw_body == content

    async def test_compressed_and_chunked_bodies_are_read_and_bombs_are_not(self) -> None:
        with trio.fail_after(LIMIT):
            limits = CallLimits(max_body_bytes=100_000)
            async with open_proxy(app={"limits": limits}) as proxy, proxy.http() as http:
                zipped = {"content-type": "application/json", "content-encoding": "gzip"}

                async def post(content: bytes, headers: dict[str, str]) -> int:
                    return (await http.post("/v1/chat/completions", content=content, headers=headers)).status_code

                good = gzip.compress(json.dumps(body()).encode())
                assert await post(good, zipped) == 200
                assert await post(good[:-9], zipped) == 400
                assert await post(b"no gzip", zipped) == 400
                assert await post(gzip.compress(b"") * 100 + good, zipped) == 200
                assert await post(gzip.compress(b" " * 10_000_000), zipped) == 413
                assert await post(good, {**zipped, "content-encoding": "br"}) == 415

                async def chunks() -> AsyncGenerator[bytes]:
                    yield json.dumps(body()).encode()[:10]
                    yield json.dumps(body()).encode()[10:]

                headers = {"content-type": "application/json"}
                chunked = await http.post("/v1/chat/completions", content=chunks(), headers=headers)
                assert chunked.status_code == 200

    async def test_a_body_that_never_comes_to_its_end_is_a_408(self) -> None:
        with trio.fail_after(LIMIT):
            async with open_proxy(app={"limits": CallLimits(body_seconds=0.3)}) as proxy:
                head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
                async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
                    await stream.send_all(head)
                    assert b" 408 " in await stream.receive_some(4096)

    async def test_expect_100_continue_and_http_1_0_are_answered(self) -> None:
        content = json.dumps(body()).encode()
        with trio.fail_after(LIMIT):
            async with open_proxy() as proxy:
                expecting = await raw(proxy, b"POST", content, headers=b"Expect: 100-continue\r\n")
                assert b" 100 " in expecting
                assert b" 200 " in expecting
                assert b" 200 " in await raw(proxy, b"POST", content, version=b"1.0")

    async def test_pipelined_requests_are_answered_in_their_order(self) -> None:
        one, two = (json.dumps(body(text)).encode() for text in ("one", "two"))
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
        head += b"Content-Type: application/json\r\nContent-Length: %d\r\n%b\r\n"
        with trio.fail_after(LIMIT):
            async with open_proxy() as proxy, await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
                close = b"Connection: close\r\n"
                await stream.send_all(head % (len(one), b"") + one + head % (len(two), close) + two)
                told = b"".join([chunk async for chunk in stream])
                assert told.index(b'"one"') < told.index(b'"two"')

    async def test_slow_headers_hold_up_nobody_and_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("autobatcher.server.hypercorn.worker.KEEP_ALIVE_SECONDS", 1.0)
        with trio.fail_after(LIMIT):
            async with open_proxy() as proxy, proxy.http() as http:
                loris = [await trio.open_tcp_stream("127.0.0.1", proxy.port) for _ in range(50)]
                for stream in loris:
                    await stream.send_all(b"POST /v1/chat/completions HTTP/1.1\r\nX-A:")
                assert (await http.post("/v1/chat/completions", json=body())).status_code == 200
                for stream in loris:
                    while await stream.receive_some(4096):
                        pass
                    await stream.aclose()

    async def test_more_than_may_wait_is_a_503_with_a_time_to_come_back(self) -> None:
        limits = CallLimits(max_waiting=2)
        with trio.fail_after(LIMIT):
            async with open_proxy(emulator={"batch_seconds": 2}, app={"limits": limits}) as proxy, proxy.http() as http:
                answers: list[httpx.Response] = []

                async def ask(i: int) -> None:
                    answers.append(await http.post("/v1/chat/completions", json=body(str(i))))

                async with trio.open_nursery() as nursery:
                    for i in range(3):
                        nursery.start_soon(ask, i)
                assert sorted(answer.status_code for answer in answers) == [200, 200, 503]
                assert next(a for a in answers if a.status_code == 503).headers["retry-after"] == "10"
                await ask(9)
                assert answers[-1].status_code == 200

    async def test_more_bytes_than_may_be_queued_are_a_503(self) -> None:
        with trio.fail_after(LIMIT):
            async with (
                open_proxy(max_queued_bytes=1, batch_window_seconds=1.0) as proxy,
                proxy.http() as http,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(lambda: http.post("/v1/chat/completions", json=body("1")))
                while (await http.get("/status")).json()["queued"] == 0:  # noqa: ASYNC110  (as a user would look)
                    await trio.sleep(0.01)
                assert (await http.post("/v1/chat/completions", json=body("2"))).status_code == 503


# ---- the report, and forwarded keys ----


class TestReports:
    pytestmark = real

    async def test_metrics_tell_what_went_through(self) -> None:
        from autobatcher.server import Report

        report = Report()
        plan = FaultPlan((LineFault(kind="fail", status=404, containing="bad"),))
        settings: dict[str, Any] = {
            "emulator": {"faults": plan},
            "app": {"report": report},
            "batch_event_handler": report.take_event,
        }
        with trio.fail_after(LIMIT):
            async with open_proxy(**settings) as proxy, proxy.http() as http:
                await http.post("/v1/chat/completions", json=body("good"))
                await http.post("/v1/chat/completions", json=body("bad"))
                text = (await http.get("/metrics")).text
                status = (await http.get("/status")).json()
        for line in (
            "autobatcher_requests_total 2.0",
            'autobatcher_lines_total{status="200"} 1.0',
            'autobatcher_lines_total{status="404"} 1.0',
            'autobatcher_batches_ended_total{status="completed"} 2.0',
            'autobatcher_upstream_calls_total{call="POST files",status="200"} 2.0',
            "autobatcher_wait_seconds_count 2.0",
            "autobatcher_waiting_requests 0.0",
        ):
            assert line in text
        assert (status["answered"], status["failed"], len(status["batches"])) == (1, 1, 2)
        assert status["input_tokens"] > 0
        assert "good" not in json.dumps(status)

    async def test_ready_tells_whether_the_upstream_takes_our_key(self) -> None:
        with trio.fail_after(LIMIT):
            async with open_proxy(emulator={"api_key": "test-key"}) as proxy, proxy.http() as http:
                assert (await http.get("/ready")).json() == {"ready": True, "reason": None}
            async with open_proxy(emulator={"api_key": "other"}) as proxy, proxy.http() as http:
                answer = await http.get("/ready")
                assert answer.status_code == 503
                assert "401" in answer.json()["reason"]
                assert (await http.get("/health")).status_code == 200

    async def test_each_callers_own_key_pays_and_no_batch_mixes_keys(self) -> None:
        paid: list[tuple[str, str]] = []

        async def note(sent: Any) -> None:
            paid.append((sent.method, sent.headers["authorization"]))

        with trio.fail_after(LIMIT):
            async with (
                open_proxy(app={"forward_keys": True}, batch_size=2, batch_window_seconds=1) as proxy,
                proxy.http() as http,
            ):
                proxy.client.event_hooks["request"].append(note)
                async with trio.open_nursery() as nursery:
                    for key in ("a", "a", "b"):
                        headers = {"authorization": f"Bearer {key}"}
                        nursery.start_soon(lambda h: http.post("/v1/chat/completions", json=body(), headers=h), headers)
                assert (await http.post("/v1/chat/completions", json=body())).status_code == 401
                assert (await http.get("/v1/models", headers={"authorization": "Bearer c"})).status_code == 200
                assert sorted(len(b.custom_ids) for b in proxy.harness.emulator.statistics().batches) == [1, 2]
        assert {key for method, key in paid if method == "POST"} == {"Bearer a", "Bearer b"}
        assert ("GET", "Bearer c") in paid

    async def test_the_description_names_every_route(self) -> None:
        with trio.fail_after(LIMIT):
            async with open_proxy() as proxy, proxy.http() as http:
                paths = (await http.get("/openapi.json")).json()["paths"]
                for path in paths:
                    if "get" in paths[path] and "{" not in path:
                        assert (await http.get(path)).status_code == 200
                assert "/v1/responses" in paths


def test_a_proxy_key_and_forwarded_keys_exclude_each_other() -> None:
    from autobatcher import BatchOpenAI
    from autobatcher.server import create_app

    with pytest.raises(ValueError, match="forward_keys"):
        create_app(BatchOpenAI(api_key="k"), proxy_key="p", forward_keys=True)


class TestWhatAUserBroke:
    pytestmark = real

    async def test_a_client_that_dies_in_the_middle_of_its_answer_is_reattached(self) -> None:
        large = {"model": "m", "messages": [{"role": "user", "content": "x" * 8_000_000}]}
        with trio.fail_after(LIMIT):
            async with open_proxy() as proxy, proxy.http() as http:
                stream = await begun_download(proxy, large)
                await stream.aclose()
                while (await http.get("/status")).json()["clients_away"] == 0:  # noqa: ASYNC110  (as a user would look)
                    await trio.sleep(0.02)
                answer = await http.post("/v1/chat/completions", json=large)
                assert len(answer.json()["choices"][0]["message"]["content"]) == 8_000_000
                assert len(proxy.harness.emulator.statistics().lines) == 1

    async def test_a_reader_who_stalls_cannot_keep_the_proxy_from_stopping(self) -> None:
        with trio.fail_after(LIMIT):
            async with open_proxy() as proxy:
                stream = await begun_download(proxy, body("x" * 8_000_000))
                stopped_at = trio.current_time()
            assert trio.current_time() - stopped_at < 10
            await stream.aclose()

    async def test_a_large_body_that_is_refused_is_told_its_true_status(self) -> None:
        limits = CallLimits(max_body_bytes=2000)
        with trio.fail_after(LIMIT):
            async with open_proxy(app={"limits": limits, "proxy_key": "sesame"}) as proxy, proxy.openai() as client:
                for key, status in (("sesame", 413), ("wrong", 401)):
                    with pytest.raises(openai.APIStatusError) as caught:
                        await client.with_options(api_key=key).chat.completions.create(**body("x" * 5_000_000))
                    assert caught.value.status_code == status

    async def test_an_answer_that_nobody_came_back_for_keeps_nobody_out(self) -> None:
        plan = FaultPlan((LineFault(kind="fail", status=422, containing="bad"),))
        app = {"limits": CallLimits(max_waiting=1, heartbeat_seconds=0.3)}
        with trio.fail_after(LIMIT):
            async with (
                open_proxy(emulator={"batch_seconds": 1, "faults": plan}, app=app) as proxy,
                proxy.http() as http,
            ):
                with pytest.raises(httpx.RemoteProtocolError):
                    await http.post("/v1/chat/completions", json=body("bad"))
                assert (await http.post("/v1/chat/completions", json=body("other"))).status_code == 200

    async def test_a_response_that_we_cut_off_is_explained_even_without_a_grace_period(self) -> None:
        plan = FaultPlan((LineFault(kind="fail", status=422),))
        app = {"limits": CallLimits(grace_seconds=0, heartbeat_seconds=0.3)}
        with trio.fail_after(LIMIT):
            async with open_proxy(emulator={"batch_seconds": 1, "faults": plan}, app=app) as proxy:
                assert await python_outcome(proxy.url, "x", stream=False) == "422"
                assert len(proxy.harness.emulator.statistics().lines) == 1

    async def test_a_gzip_body_of_several_members_is_read_whole(self) -> None:
        content = json.dumps(body()).encode()
        zipped = gzip.compress(content[:20]) + gzip.compress(content[20:])
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        with trio.fail_after(LIMIT):
            async with open_proxy() as proxy, proxy.http() as http:
                assert (await http.post("/v1/chat/completions", content=zipped, headers=headers)).status_code == 200

    async def test_where_callers_have_their_own_keys_ours_is_no_condition_of_being_ready(self) -> None:
        app = {"forward_keys": True}
        with trio.fail_after(LIMIT):
            async with open_proxy(emulator={"api_key": "other"}, app=app) as proxy, proxy.http() as http:
                assert (await http.get("/ready")).status_code == 200
                assert (await http.get("/v1/models")).json()["error"]["code"] == "missing_api_key"


async def begun_download(proxy: Proxy, request: dict[str, Any]) -> trio.SocketStream:
    """A connection on which a large answer has begun to come, and is not read any further."""
    content = json.dumps(request).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
    await stream.send_all(head + b"Content-Length: %d\r\n\r\n" % len(content) + content)
    await stream.receive_some(1000)
    return stream


class TestHttp2:
    pytestmark = real

    async def test_what_fails_after_a_sign_of_life_is_no_whole_response_over_http_2_either(self) -> None:
        plan = FaultPlan((LineFault(kind="fail", status=404),))
        quick = {"limits": CallLimits(heartbeat_seconds=0.3)}
        with trio.fail_after(LIMIT):
            async with open_proxy(emulator={"batch_seconds": 1.5, "faults": plan}, app=quick) as proxy:
                async with httpx.AsyncClient(base_url=proxy.url, http1=False, http2=True, timeout=20) as http:
                    with pytest.raises(httpx.RemoteProtocolError):
                        await http.post("/v1/chat/completions", json=body())
                    assert (await http.post("/v1/chat/completions", json=body())).status_code == 404
                assert len(proxy.harness.emulator.statistics().lines) == 1
