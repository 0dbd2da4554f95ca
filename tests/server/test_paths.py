"""What a client writes in a path or in the framing of a request does not reach the upstream, nor break the proxy."""

from __future__ import annotations

import pytest
import trio

from autobatcher.server.paths import is_model_name
from tests.server.proxies import open_proxy
from tests.server.test_retries import connect, status_of

LIMIT = 55

BAD = [
    *(
        "..",
        ".",
        "%2e%2e",
        "..%2Ffiles",
        "..%5cfiles",
        "a/../b",
        "a%2F..%2Fb",
        "%252e%252e",
        "..%252ffiles",
        "a//b",
        "a/",
    ),
    *("%00", "a%0d%0ab", "%25252e%25252e", "%ff%2F.."),
]
ODD = ["%ff", "a%3Fb%23c", "a%2520b", "%C3%A9", "org%2Fmodel", "a..b", "ft:gpt-4o:my-org:custom:id", "a;b,c=d@e"]


@pytest.mark.real_time
@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
@pytest.mark.proves("faults", "a path that leads elsewhere; Content-Length and Transfer-Encoding together")
@pytest.mark.parametrize("path", BAD)
async def test_a_path_that_leads_elsewhere_is_not_found_and_not_passed_on(path: str) -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy:
            before = proxy.harness.emulator.statistics().http_calls
            request = f"GET /v1/models/{path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
            assert await status_of(connect(proxy, request)) == 404
            assert proxy.harness.emulator.statistics().http_calls == before


@pytest.mark.real_time
@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_an_odd_name_of_a_model_is_passed_on_encoded() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy:
            for path in ODD:
                request = f"GET /v1/models/{path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
                assert await status_of(connect(proxy, request)) == 200, path


@pytest.mark.real_time
@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_a_request_without_a_path_is_refused() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy:
            for target in ("?", "?v1/models", "#x"):
                request = f"GET {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
                assert await status_of(connect(proxy, request)) in (400, 404), target


@pytest.mark.parametrize("name", ["gpt-4o", "Qwen/Qwen3.5-397B", "a..b", "50%", "a b"])
def test_names_of_models(name: str) -> None:
    assert is_model_name(name)


@pytest.mark.real_time
@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
@pytest.mark.proves("faults", "a path that leads elsewhere; Content-Length and Transfer-Encoding together")
@pytest.mark.parametrize("target", ["POST /v1/chat/completions", "GET /health", "POST /nowhere"])
async def test_a_request_with_two_lengths_is_refused_and_its_connection_closed(target: str) -> None:
    smuggled = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
    head = f"{target} HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    with trio.fail_after(LIMIT):
        async with open_proxy() as proxy:
            stream = await trio.open_tcp_stream("127.0.0.1", proxy.port)
            async with stream:
                await stream.send_all(head + b"0\r\n\r\n" + smuggled)
                received = b"".join([chunk async for chunk in stream])
    assert received.startswith(b"HTTP/1.1 400")
    assert received.count(b"HTTP/1.1") == 1
