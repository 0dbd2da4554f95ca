"""Keys of callers: wrong ones are slowed down, right ones never, and none breaks the proxy."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator

import h2.connection
import h2.errors
import hpack
import httpx
import pytest
import trio
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame, RstStreamFrame

from autobatcher.server.access import OPEN_PATHS, STATUS_PATHS, Access
from autobatcher.server.keys import BURST, BURST_OF_ALL, MOST_ADDRESSES, ProxyKey, WrongKeys, bearer_in
from tests.server.proxies import open_proxy
from tests.server.test_abuse import http2
from tests.server.test_retries import connect, status_of

LIMIT = 20
RIGHT = "Bearer sesame"


def statuses(key: ProxyKey, address: str, count: int, now: float = 0.0) -> list[int | None]:
    refused = [key.why_refused(f"Bearer wrong {i}", address, now) for i in range(count)]
    return [None if each is None else each.status_code for each in refused]


def test_wrong_keys_of_one_address_are_slowed_down_and_those_of_others_are_not() -> None:
    key = ProxyKey("sesame")
    assert statuses(key, "10.0.0.1", 12) == [401] * int(BURST) + [429] * 2
    assert statuses(key, "10.0.0.2", 1) == [401]
    assert statuses(key, "10.0.0.1", 2, now=6.0) == [401, 429]  # ten a minute
    refused = key.why_refused("Bearer wrong", "10.0.0.1", 6.0)
    assert refused is not None
    assert refused.retry_after == 6


def test_a_right_key_is_always_served_at_once_and_a_missing_one_is_no_guess() -> None:
    key = ProxyKey("sesame")
    statuses(key, "10.0.0.1", 1000)
    assert key.why_refused(RIGHT, "10.0.0.1", 0.0) is None
    missing = key.why_refused("", "10.0.0.1", 0.0)
    assert missing is not None
    assert missing.status_code == 401


def test_all_addresses_together_are_bounded_and_so_is_the_memory() -> None:
    wrong = WrongKeys()
    allowed = sum(wrong.count(f"10.{i >> 8}.{i & 255}.1", 0.0) == 0 for i in range(3 * MOST_ADDRESSES))
    assert allowed == BURST_OF_ALL
    assert len(wrong._by_address) == MOST_ADDRESSES


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def test_a_password_is_the_key_where_one_only_reads_and_a_wrong_one_is_a_guess() -> None:
    access = Access("se:same")
    for given in ("", "Basic", "Basic ?", "Basic ab=c", basic("sesame"), basic("se:"), basic("ü:ü"), "Basic /w=="):
        assert access.why_refused("/status", given, "10.0.0.1", 0.0) is not None, given
    assert access.why_refused("/status", basic(":se:same"), "10.0.0.1", 0.0) is None
    assert (
        access.why_refused("/v1/models", basic(":se:same"), "10.0.0.1", 0.0) is not None
    )  # sites make browsers send it
    for i in range(int(BURST)):
        access.why_refused("/", basic(f"x:{i}"), "10.0.0.1", 0.0)
    refused = access.why_refused("/metrics", basic("x:y"), "10.0.0.1", 0.0)
    assert refused is not None
    assert refused.status_code == 429


@pytest.mark.parametrize("path", sorted(STATUS_PATHS))
def test_the_status_needs_the_key_unless_it_is_public(path: str) -> None:
    assert Access("sesame").why_refused(path, "", "", 0.0) is not None
    assert Access("sesame", public_status=True).why_refused(path, "", "", 0.0) is None
    assert Access(None).why_refused(path, "", "", 0.0) is None
    assert Access("sesame", public_status=True).why_refused("/v1/models", "", "", 0.0) is not None


@pytest.mark.parametrize("suffix", ["", "%eth0"])
def test_one_customers_ipv6_addresses_are_one(suffix: str) -> None:
    wrong = WrongKeys()
    counted = [wrong.count(f"2001:db8::{i:x}{suffix}", 0.0) for i in range(12)]
    assert [seconds == 0 for seconds in counted] == [True] * 10 + [False] * 2
    assert wrong.count("2001:db8:0:1::1", 0.0) == 0


@pytest.mark.parametrize(
    ("authorization", "bearer"),
    [("Bearer k", "k"), ("bearer  k ", "k"), ("Basic k", None), ("Bearer", None), ("Bearer  ", None), ("", None)],
)
def test_a_bearer_token_is_what_follows_the_word(authorization: str, bearer: str | None) -> None:
    assert bearer_in(authorization) == bearer


@pytest.mark.real_time
@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
@pytest.mark.proves("faults", "wrong keys are guessed, and header values are no text")
async def test_a_flood_of_guesses_gets_429_and_costs_its_connections_and_the_right_key_works() -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(app={"proxy_key": "sesame"}) as proxy, proxy.http() as http:
            answers = [
                await http.get("/v1/models", headers={"authorization": f"Bearer {i}"}) for i in range(int(BURST) + 3)
            ]
            assert [answer.status_code for answer in answers] == [401] * int(BURST) + [429] * 3
            assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers[-3:])
            assert [answer.headers.get("connection") for answer in answers[-3:]] == ["close"] * 3
            assert answers[-1].headers["x-should-retry"] == "false"  # the SDK would guess the same again
            assert (await http.get("/v1/models", headers={"authorization": RIGHT})).status_code == 200
            assert (await http.get("/health")).status_code == 200
            async with proxy.http(http1=False, http2=True) as other:
                for authorization, expected in (("Bearer x", 429), (RIGHT, 200)):
                    answer = await other.get("/v1/models", headers={"authorization": authorization})
                    assert answer.status_code == expected


@pytest.mark.real_time
@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
@pytest.mark.proves("faults", "wrong keys are guessed, and header values are no text")
async def test_guesses_over_http2_cost_the_connection_and_what_runs_on_it_is_answered() -> None:
    chat = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
    with trio.fail_after(LIMIT):
        async with (
            open_proxy(app={"proxy_key": "sesame"}, emulator={"batch_seconds": 1.0}) as proxy,
            http2(proxy) as (connection, stream),
        ):
            paid = _ask(connection, RIGHT, chat)
            guesses = [_ask(connection, f"Bearer {number}") for number in range(int(BURST) + 1)]
            await stream.send_all(connection.data_to_send())
            frames = []
            async for frame in _frames(stream):
                frames.append(frame)
                if isinstance(frame, GoAwayFrame):
                    await stream.send_all(_late_guess().serialize())
    headers = hpack.Decoder()
    statuses = {
        frame.stream_id: dict(headers.decode(frame.data, raw=True))[b":status"]
        for frame in frames
        if isinstance(frame, HeadersFrame)
    }
    assert [statuses[guess] for guess in guesses] == [b"401"] * int(BURST) + [b"429"]
    assert statuses[paid] == b"200"
    left = next(number for number, frame in enumerate(frames) if isinstance(frame, GoAwayFrame))
    assert any(frame.stream_id == paid and "END_STREAM" in frame.flags for frame in frames[left:])
    (refused,) = [frame for frame in frames if isinstance(frame, RstStreamFrame)]
    assert (refused.stream_id, refused.error_code) == (LATE, h2.errors.ErrorCodes.REFUSED_STREAM)


LATE = 1001


def _late_guess() -> HeadersFrame:
    """From a client that does not care for a GOAWAY."""
    headers = [(":method", "GET"), (":path", "/v1/models"), (":scheme", "http"), (":authority", "localhost")]
    block = hpack.Encoder().encode([*headers, ("authorization", "Bearer one more")])
    return HeadersFrame(LATE, data=block, flags=["END_HEADERS", "END_STREAM"])


async def _frames(stream: trio.SocketStream) -> AsyncIterator[Frame]:
    """All frames until the connection is closed. (h2 ignores what comes after a GOAWAY.)"""
    rest = b""
    while chunk := await stream.receive_some(65_536):
        rest += chunk
        while len(rest) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(rest[:9]))
            if len(rest) < 9 + length:
                break
            frame.parse_body(memoryview(rest[9 : 9 + length]))
            rest = rest[9 + length :]
            yield frame


def _ask(connection: h2.connection.H2Connection, authorization: str, body: bytes = b"") -> int:
    """Send a request: a call if it has a body. Returns its stream."""
    number = connection.get_next_available_stream_id()
    method, path = ("POST", "/v1/chat/completions") if body else ("GET", "/v1/models")
    headers = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "localhost")]
    headers += [("authorization", authorization), ("content-type", "application/json")]
    connection.send_headers(number, headers, end_stream=not body)
    if body:
        connection.send_data(number, body, end_stream=True)
    return number


@pytest.mark.real_time
@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
@pytest.mark.proves("faults", "wrong keys are guessed, and header values are no text")
async def test_no_spelling_of_a_path_does_without_the_key() -> None:
    targets = ["/v1/models", "//v1/models", "///v1//models", "http://localhost/v1/models", "//localhost/v1/models"]
    targets += ["/%76%31/models", "/v1%2fmodels", "/v1/models?x", "/v1/models/m", "/./v1/models", "/V1/models", "/v1"]
    with trio.fail_after(LIMIT):
        async with open_proxy(app={"proxy_key": "sesame"}) as proxy:
            for target in targets:
                request = f"GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
                assert await status_of(connect(proxy, request)) == 401, target
            for target in sorted(OPEN_PATHS):
                request = f"GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
                assert await status_of(connect(proxy, request)) == 200, target
            browser = httpx.BasicAuth("whoever", "sesame")
            async with proxy.http() as http:
                for page in sorted(STATUS_PATHS):
                    asked = await http.get(page)
                    assert asked.status_code == 401, page
                    assert ("www-authenticate" in asked.headers) is (page == "/")
                    assert (await http.get(page, headers={"authorization": RIGHT})).status_code == 200, page
                    assert (await http.get(page, auth=browser)).status_code == 200, page
                assert (await http.get("/v1/models", auth=browser)).status_code == 401
                assert (await http.post("/v1/chat/completions", auth=browser)).status_code == 401


@pytest.mark.real_time
@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
@pytest.mark.parametrize("app", [{"proxy_key": "sesame"}, {"forward_keys": True}, {}], ids=lambda app: "".join(app))
@pytest.mark.proves("faults", "wrong keys are guessed, and header values are no text")
async def test_header_values_that_are_no_text_are_refused_alike_on_every_route(app: dict[str, object]) -> None:
    right = {b"authorization": b"Bearer sesame"}
    values = ["ü".encode(), b"\xff\xfe", b"a\x01b", b"\xc3\x28", b"a\tb", b"\x7f"]
    with trio.fail_after(LIMIT):
        async with open_proxy(app=app) as proxy, proxy.http() as http:
            before = proxy.harness.emulator.statistics().http_calls
            for value in values:
                for headers, expected in (
                    ({b"authorization": b"Bearer " + value}, 401),
                    ({**right, b"idempotency-key": value}, 400),
                    ({**right, b"x-team": value}, 400),
                    ({**right, b"x-request-id": value}, 400),
                ):
                    for answer in (
                        await http.post("/v1/chat/completions", json={"model": "m", "messages": []}, headers=headers),
                        await http.get("/v1/models", headers=headers),
                        await http.get("/status", headers=headers),
                    ):
                        assert answer.status_code == expected, (headers, answer.text)
                        assert "printable ASCII" in answer.json()["error"]["message"]
            twice = [(b"authorization", b"Bearer sesame")] * 2
            assert (await http.get("/v1/models", headers=twice)).status_code == 401
            assert proxy.harness.emulator.statistics().http_calls == before
            harmless = {**right, b"user-agent": "Jürgen".encode(), b"cookie": b"\xff", b"x-forwarded-for": b"\xff"}
            assert (await http.get("/v1/models", headers=harmless)).status_code == 200
