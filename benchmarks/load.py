"""A light client: many keep-alive connections, on each one request after the other, and each answer checked.

It knows just enough HTTP/1.1 for an answer with a Content-Length, so that what is measured is the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

CONNECTS_AT_ONCE = 100
"""Fewer than any server's backlog (aiohttp: 128): what is too much for it comes back only a second later."""

_BODY = '{"model":"m","messages":[{"role":"user","content":"caller-%d. ' + "x" * 1000 + '"}]}'


def request_of(number: int, port: int) -> bytes:
    """A call of 1 KB that says whose it is."""
    body = _BODY % number
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer any\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


async def connect_all(port: int, numbers: Iterable[Iterable[int]]) -> list[Connection]:
    """Open a connection for each series of numbers; each sends its first request at once."""
    connections = [Connection(port, iter(each)) for each in numbers]
    loop = asyncio.get_running_loop()
    for start in range(0, len(connections), CONNECTS_AT_ONCE):
        some = connections[start : start + CONNECTS_AT_ONCE]
        await asyncio.gather(*(loop.create_connection(lambda each=each: each, "127.0.0.1", port) for each in some))  # type: ignore[misc]
        await _knock(port)
    return connections


async def _knock(port: int) -> None:
    """Wait until the server has accepted all connections so far: it answers a new one only after them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
    await reader.readline()
    writer.close()


async def all_answered(connections: Iterable[Connection]) -> None:
    """Wait for the last answer of each. Raises what went wrong with any."""
    await asyncio.gather(*(connection.done for connection in connections))
    for connection in connections:
        connection.close()


class Connection(asyncio.Protocol):
    """One connection.

    Attributes:
        done: set once its last request was answered, each with a 200 that names its caller.
    """

    def __init__(self, port: int, numbers: Iterator[int]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._port = port
        self._numbers = numbers
        self._number = -1
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send_next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if blank and len(body) >= _content_length(head):
            self._received = b""
            self._check(head, body)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError(f"cut while caller {self._number} waited"))

    def close(self) -> None:
        self._transport.close()

    def _check(self, head: bytes, body: bytes) -> None:
        if head[9:12] == b"200" and b"caller-%d." % self._number in body:
            self._send_next()
        else:
            self.done.set_exception(AssertionError(f"caller {self._number} got {head!r} {body[:300]!r}"))

    def _send_next(self) -> None:
        number = next(self._numbers, None)
        if number is None:
            self.done.set_result(None)
        else:
            self._number = number
            self._transport.write(request_of(number, self._port))


def _content_length(head: bytes) -> int:
    _, name, rest = head.lower().partition(b"\r\ncontent-length:")
    if not name:
        raise AssertionError(f"an answer without Content-Length: {head!r}")
    return int(rest.partition(b"\r\n")[0])
