"""What an upstream answers reaches the proxy's clients as JSON, whatever it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from autobatcher.emulator import FaultPlan, HttpFault, LineFault
from autobatcher.server.relayed import relayed_parts
from tests.server.proxies import open_proxy

LIMIT = 20
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
PAGE = "<!doctype html><script>fetch('/v1/chat/completions')</script>"


@pytest.mark.parametrize(
    ("status", "content", "told"),
    [
        (200, b'{"data": []}', 200),
        (404, b'{"error": "\xc3\xbc"}', 404),
        (404, PAGE.encode(), 404),
        (200, PAGE.encode(), 502),
        (200, b'{"a": "\xff"}', 502),
        (500, b"", 500),
        (204, b"", 502),
        (302, b"{}", 502),
        (999, b"{}", 502),
        (200, b"[" * 1_000_000, 502),
        (200, b'{"a": 1} <script>', 502),
    ],
)
def test_an_answer_is_json_or_is_told_as_json(status: int, content: bytes, told: int) -> None:
    parts = relayed_parts(status, content, "req_1")
    assert parts["status_code"] == told
    assert parts["headers"]["content-type"] == "application/json"
    assert parts["headers"]["x-request-id"] == "req_1"
    if parts["content"] != content:
        error = json.loads(parts["content"])["error"]
        assert str(status) in error["message"]
        assert error["code"] == "upstream_not_json"


@pytest.mark.parametrize("request_id", ["a\r\nset-cookie: x", "ü", "\x1b]0;x\x07", "x" * 10_000, "", None])
def test_an_id_that_fits_no_header_is_left_out(request_id: str | None) -> None:
    assert "x-request-id" not in relayed_parts(200, b"{}", request_id)["headers"]


def test_control_characters_of_a_page_are_not_told() -> None:
    error = json.loads(relayed_parts(500, b"gone\x1b[2J\x07 \xff away", None)["content"])["error"]
    assert error["message"] == "The upstream answered 500 without JSON: gone [2J \ufffd away"


@pytest.mark.real_time
@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
@pytest.mark.proves("faults", "an upstream answers with a page that would run script on the proxy's origin")
async def test_a_page_of_the_upstream_is_no_page_of_the_proxy() -> None:
    page: dict[str, Any] = {"body": PAGE, "headers": {"content-type": "text/html"}}
    faults = (
        HttpFault(operation="models", nth=(1, 2), status=404, **page),
        HttpFault(operation="models", nth=(3,), status=200, **page),
        HttpFault(operation="batches.create", nth=(1,), status=400, **page),
        HttpFault(operation="files.create", nth=(2,), status=302, **page),
        HttpFault(operation="files.create", nth=(3,), status=150, **page),
    )
    with trio.fail_after(LIMIT):
        async with open_proxy(emulator={"faults": FaultPlan(faults)}, max_retries=0) as proxy, proxy.http() as http:
            answers = [
                await http.get("/v1/models"),
                await http.get("/v1/models/m"),
                await http.get("/v1/models"),
                *[await http.post("/v1/chat/completions", json=CHAT) for _ in range(3)],
            ]
    assert [answer.status_code for answer in answers] == [404, 404, 502, 400, 502, 502]
    for answer in answers:
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["error"]["message"]


@pytest.mark.real_time
@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.proves("faults", "an upstream answers with a page that would run script on the proxy's origin")
async def test_a_failed_line_that_holds_a_page_is_told_as_json(stream: bool) -> None:
    plan = FaultPlan((LineFault(kind="fail", status=404, body=PAGE),))
    with trio.fail_after(LIMIT):
        async with open_proxy("doubleword", emulator={"faults": plan}) as proxy, proxy.http() as http:
            answer = await http.post("/v1/chat/completions", json={**CHAT, "stream": stream})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
    assert answer.json()["error"]["message"] == PAGE
