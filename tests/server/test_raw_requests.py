"""Plain requests go past hypercorn. Whatever a client sends, it must mean the same both ways, and get the same answer.

The app tells all that it was given, so that a byte that one way reads as a header and the other as a body shows.
"""

from __future__ import annotations

import random
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from autobatcher.server.hypercorn.connection import Connection
from autobatcher.server.hypercorn.plain_connection import PlainConnection
from autobatcher.server.hypercorn.worker import listen, make_config, run_worker
from tests.server.proxies import connection_tasks, on_real_trio

pytestmark = on_real_trio

LIMIT = 50
MUTATIONS = 500
AT_ONCE = 100
QUIET_SECONDS, LONGER_SECONDS = 0.005, 0.5
"""What was sent within this machine has arrived by then; what differs is tried again with more time."""

GET = b"GET /seen HTTP/1.1\r\n"
HOST = b"Host: example\r\n"
BODY = b'{"model":"m"}'
POST = b"POST /v1/chat/completions?a=b HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
SIZED = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"5;x=y\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:])
NEXT = GET + HOST + b"\r\n"
WHOLE = POST + SIZED + b"\r\n" + BODY


def posted(*headers: bytes, body: bytes = BODY) -> bytes:
    return POST + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body + NEXT


def asked(target: bytes, *headers: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"%b %b %b\r\n%b%b\r\n" % (method, target, version, HOST, lines) + NEXT


LENGTHS = (
    *(b"Content-Length: 13, 13", b"Content-Length: +13", b"Content-Length: -1", b"Content-Length : 13"),
    *(b"Content-Length:", b"Content-Length: 0xd", b"Content-Length: \xd9\xa1\xd9\xa3", b"Content-Length: 1_3"),
    *(b"Content-Length: 013", b"Content-Length: 13.0", b"Content-Length:\t13\t", b"Content-Length: 9" + b"0" * 30),
    *(b"Content-Length: 9223372036854775808", b"Content-Length: 1 3", b"Content-Length: 13\x0b", b"content-LENGTH:13"),
    *(b"Content-Length: 13\r\nContent-Length: 13", b"Content-Length: 13\r\nContent-Length: 5", b"Content-Length: 5"),
    *(b"Content-Length\x00: 13", b"X: y\rContent-Length: 13", b"X: y\nContent-Length: 13", b"Content-Length: 100"),
    *(b"Content-Length: 13\r\n ", b"X: a\r\n b\r\nContent-Length: 13", b" X: a\r\nContent-Length: 13", b"X: 13"),
)  # fmt: skip
CODINGS = (
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity"),
    *(b"Transfer-Encoding: xchunked", b"Transfer-Encoding:\x0bchunked", b"transfer-encoding:chunked"),
    *(b"Transfer-Encoding : chunked", b"Transfer-Encoding:", CHUNKED + b"Transfer-Encoding: chunked"),
    *(b"Content-Length: 13\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nContent-Length: 3"),
    *(b"X: y\r\n Transfer-Encoding: chunked", b"Transfer_Encoding: chunked", b"TE: chunked"),
)  # fmt: skip
HEADERS = (
    *(b"Connection: close", b"Connection: Keep-Alive, Close", b"Connection: x-close", b"Connection: keep-alive"),
    *(b"Connection: close\r\nConnection: keep-alive", b"Connection: upgrade\r\nUpgrade: other", b"Connection:"),
    *(b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",),
    *(b"Expect: 100-continue", b"Expect: something", b"Host: other", b"X A: b", b": b", b"X", b"X: \x00", b"X: \x7f"),
    *(b"X: a\x0bb", b"X: a\x85b", b"X:a", b"X:  a \t", b"X:", b"X: a\tb", b"\tX: a", b"X\t: a", b"X: \xff", b"\xff: a"),
    *(b"X: " + b"y" * 15_000, b"X: " + b"y" * 20_000, b"\r\n".join(b"X-%d: y" % number for number in range(300))),
    *(b"Keep-Alive: timeout=5", b"Cookie: a=b\r\nCookie: c=d", b"X: a\r", b"X: a\r\r\nY: b", b"@: a", b"X/: a"),
)  # fmt: skip
TARGETS = (
    *(b"http://example/seen", b"/se%65n", b"/%e2%82%ac", b"/%zz%ff", b"/a?b=c?d", b"/a#b", b"*", b"?a", b"//a"),
    *(b"/\xe2",),
    *(b"/a b", b"", b"/\x00", b"/%00", b"/" + b"a" * 20_000, b"/chunked", b"/204", b"/304", b"/close", b"/fails"),
    *(b"/cut-off", b"/odd-header", b"/two-writes", b"/empty"),
)  # fmt: skip
METHODS = (b"HEAD", b"OPTIONS", b"DELETE", b"PUT", b"PATCH", b"CONNECT", b"TRACE", b"get", b"PRI", b"G@T", b"")
VERSIONS = (b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.1 ", b"HTTP/1,1", b"HTTP/11", b"")
OTHERS = (
    *(WHOLE * 3, NEXT * 5, WHOLE + b"\r\n" + NEXT, b"\r\n" + WHOLE, b"\r\n\r\n" + WHOLE, WHOLE.replace(b"\r\n", b"\n")),
    *(GET + b"\r\n", GET + HOST + HOST + b"\r\n", POST + b"X: " + b"y" * 100_000, b"\x16\x03\x01\x02", b"hi\r\n\r\n"),
    *(NEXT + b"garbage\r\n\r\n", GET.replace(b" ", b"  ") + HOST + b"\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""),
    *(posted(b"Connection: close", SIZED[:-2]), WHOLE[:-3], WHOLE[:40], WHOLE[:-14], b"\n\n", b"GET\n\n", b"G"),
)  # fmt: skip

CASES: list[bytes] = [
    *(posted(header) for header in (*LENGTHS, SIZED[:-2], b"X: y")),
    *(posted(header, body=CHUNKS) for header in CODINGS),
    *(posted(SIZED[:-2], header) for header in HEADERS),
    *(posted(header, SIZED[:-2]) for header in HEADERS),
    *(asked(b"/seen", header) for header in HEADERS),
    *(asked(target) for target in TARGETS),
    *(asked(b"/seen", method=method) for method in METHODS),
    *(asked(b"/seen", version=version) for version in VERSIONS),
    *OTHERS,
]

WORDS = (
    b"\r\n",
    b" ",
    b"\t",
    b"\n",
    b"\r",
    b":",
    b",",
    b"\0",
    SIZED,
    b"Content-Length: 3\r\n",
    CHUNKED,
    b"Host: b\r\n",
)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """With a few bytes of its head changed, left out, or put in."""
    changed = bytearray(content[:3000])
    for _ in range(chance.choice([1, 1, 2, 3])):
        at = chance.randrange(max(1, min(len(changed), 200)))
        replaced = chance.choice([0, 1, 1])
        changed[at : at + replaced] = chance.choice([b"", bytes([chance.randrange(256)]), *WORDS])
    return bytes(changed)


# ---- the app ----


async def telling(scope: Any, receive: Any, send: Any) -> None:
    """Answers with all that it was given, in a form that the path names."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await trio.sleep_forever()
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})
        return
    path = scope["path"]
    if path == "/unread":
        await wait_all_tasks_blocked()  # what was received waits for this app
    body = b"" if path == "/unread" else await _whole(receive)
    if body is None:
        return
    if path == "/fails":
        raise ValueError("as the request wants")
    names = ("method", "path", "raw_path", "query_string", "scheme", "root_path", "http_version")
    seen = repr([*(scope[name] for name in names), sorted(scope["headers"]), body]).encode()
    await send({"type": "http.response.start", **_begin(path, len(seen))})
    if path in ("/two-writes", "/cut-off"):
        await send({"type": "http.response.body", "body": seen[:10], "more_body": True})
        seen = seen[10:]
    if path != "/cut-off":
        await send({"type": "http.response.body", "body": b"" if path in ("/204", "/304", "/empty") else seen})


async def _whole(receive: Any) -> bytes | None:
    body, has_more = b"", True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        has_more = message["more_body"]
    return body


def _begin(path: str, size: int) -> dict[str, Any]:
    """The beginning of the response."""
    size = 0 if path == "/empty" else size
    headers = [] if path in ("/chunked", "/204", "/304", "/cut-off") else [(b"content-length", b"%d" % size)]
    headers += [(b"connection", b"close")] if path == "/close" else []
    headers += [(b"x", b"a\r\nb: c")] if path == "/odd-header" else []
    return {"status": int(path[1:]) if path in ("/204", "/304") else 200, "headers": headers}


# ---- both ways ----

Script = Sequence[bytes | None]
"""What a client sends, piece by piece. None ends its half of the connection."""

Cut = Callable[[bytes], Script]
CUTS: tuple[Cut, ...] = (
    lambda content: [content],
    lambda content: [content[:40], content[40:-20], content[-20:]],
    lambda content: [content, None],
)


@asynccontextmanager
async def serving(connection: type[Connection], monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[int]:
    """The port of the app, served over such connections."""
    stop = trio.Event()
    sockets = listen("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        with monkeypatch.context() as patch:
            patch.setattr("autobatcher.server.hypercorn.worker.PlainConnection", connection)
            config = make_config(log_level="CRITICAL")
            await nursery.start(partial(run_worker, telling, config, sockets, stop=stop.wait))
        yield sockets[0].getsockname()[1]
        nursery.cancel_scope.cancel()


async def answers(port: int, scripts: Sequence[Script], quiet: float) -> list[tuple[bytes, bool]]:
    """What came back to each script, and whether its connection was closed."""
    streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in scripts]
    for step in range(max(map(len, scripts))):
        for stream, script in zip(streams, scripts, strict=True):
            if step < len(script):
                await _send(stream, script[step])
        await wait_all_tasks_blocked(quiet)
    return [await _received(stream, quiet) for stream in streams]


async def _send(stream: trio.SocketStream, piece: bytes | None) -> None:
    with suppress(trio.BrokenResourceError):  # it may be closed by now
        await (stream.send_eof() if piece is None else stream.send_all(piece))


async def _received(stream: trio.SocketStream, quiet: float) -> tuple[bytes, bool]:
    """All that is there by now."""
    told = b""
    async with stream:
        with trio.move_on_after(quiet):
            while True:
                try:
                    received = await stream.receive_some(1_000_000)
                except trio.BrokenResourceError:  # bytes of ours were left unread
                    return told, True
                if not received:
                    return told, True
                told += received
    return told, False


def comparable(told: bytes) -> list[bytes]:
    """The lines, in one order and with names in one case, without those that tell the time."""
    lines = _NAME.sub(lambda name: name[0].lower(), told).split(b"\r\n")
    return sorted(line for line in lines if not line.startswith(b"date: "))


_NAME = re.compile(rb"^[A-Za-z-]+: ", re.MULTILINE)


def is_alike(content: bytes, plain: tuple[bytes, bool], own: tuple[bytes, bool]) -> bool:
    """hypercorn may refuse a request after which the client wants to close, if more follows; it should ignore that."""
    if b"onnection: close" in content and own[0].endswith(_REFUSED) and plain[1]:
        return True
    return (comparable(plain[0]), plain[1]) == (comparable(own[0]), own[1])


_REFUSED = b"\r\nConnection: close\r\n\r\n"


async def differences(ports: Sequence[int], contents: Sequence[bytes], cut: Cut) -> list[str]:
    """What is not answered alike, and how."""
    some = await _different(ports, contents, cut, QUIET_SECONDS)
    again = await _different(ports, [content for content, _, _ in some], cut, LONGER_SECONDS)
    return [f"{content[:400]!r}\n  plain {plain}\n  own   {own}" for content, plain, own in again]


async def _different(ports: Sequence[int], contents: Sequence[bytes], cut: Cut, quiet: float) -> list[Any]:
    found = []
    for begin in range(0, len(contents), AT_ONCE):
        some = contents[begin : begin + AT_ONCE]
        both = [await answers(port, [cut(content) for content in some], quiet) for port in ports]
        found += [each for each in zip(some, *both, strict=True) if not is_alike(*each)]
    return found


@pytest.mark.proves("faults", "bytes that two servers could read as two requests, or as none")
async def test_whatever_bytes_come_plain_connections_and_hypercorns_own_answer_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(22)
    mutants = [mutated(chance.choice(CASES), chance) for _ in range(MUTATIONS)]
    with trio.fail_after(LIMIT):
        async with serving(PlainConnection, monkeypatch) as plain, serving(Connection, monkeypatch) as own:
            found = await differences([plain, own], mutants, CUTS[0])
            for cut in CUTS:
                found += await differences([plain, own], CASES, cut)
    assert not found, f"{len(found)} differences\n" + "\n".join(found[:10])


@pytest.mark.proves("faults", "a client sends on and on what nobody reads")
@pytest.mark.parametrize("connection", [PlainConnection, Connection])
async def test_a_response_before_the_end_of_the_request_leaves_no_connection_behind(
    connection: type[Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hypercorn's own task group the app waits for itself, and its reader for ever."""
    endless = asked(b"/unread", CHUNKED[:-2], method=b"POST")[: -len(NEXT)] + b"1\r\nx\r\n" * 2_000
    with trio.fail_after(LIMIT):
        async with serving(connection, monkeypatch) as port:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(endless)
                told = b""
                with suppress(trio.BrokenResourceError):  # bytes of ours were left unread
                    while received := await stream.receive_some():
                        told += received
            assert told.startswith(b"HTTP/1.1 200")
            while connection_tasks():  # noqa: ASYNC110  (nothing tells)
                await trio.sleep(0.01)
