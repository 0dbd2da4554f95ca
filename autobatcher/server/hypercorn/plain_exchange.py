"""ASGI for one plain HTTP/1.1 request: what its app receives and sends."""

from __future__ import annotations

import enum
import time
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import trio
from hypercorn.config import Config

from .connection import Connection
from .extensions import BODY_IS_HERE, HEADER_MEMORY, LISTENER, WOKEN
from .http1 import CLOSE, keeps_alive
from .plain_head import PlainHead
from .plain_response import ResponseHead, response_head
from .wire import Wire

Message = MutableMapping[str, Any]

_EMPTY = [(b"content-length", b"0"), CLOSE]


class _Progress(enum.Enum):
    """How far the response is."""

    OPEN = enum.auto()
    SENT = enum.auto()
    UNREAD = enum.auto()
    """The client is gone."""


class _Wait(enum.Enum):
    """What the app waits for, beside its body."""

    NOTHING = enum.auto()
    CLIENT = enum.auto()
    """To send something, or to end."""
    WAKE = enum.auto()
    """The client has sent something already."""
    WOKEN = enum.auto()


class PlainExchange:
    """One request on a connection, and its response.

    Attributes:
        sends_now: see `Listener`.
        has_listened: whether it waited for its client to send something else.
    """

    __slots__ = (
        "_connection",
        "_ends",
        "_is_body_read",
        "_left",
        "_progress",
        "_request",
        "_response",
        "_unsent",
        "_wait",
        "_wake",
        "_wire",
        "has_listened",
        "sends_now",
    )

    def __init__(self, connection: Connection, wire: Wire, request: PlainHead, ends: tuple[Any, Any]) -> None:
        self._connection = connection
        self._wire = wire
        self._ends = ends
        self._request = request
        self._left = int(request.length or 0)
        self._is_body_read = False
        self._response: ResponseHead | None = None
        self._unsent = b""
        self._progress = _Progress.OPEN
        self._wait = _Wait.NOTHING
        self._wake = trio.Event()
        self.has_listened: bool = False
        self.sends_now: bool = False

    @property
    def is_listening(self) -> bool:
        """See `Listener`."""
        return self._wait is _Wait.CLIENT

    @property
    def ends_connection(self) -> bool:
        """Whether no other request can follow."""
        return self._progress is not _Progress.SENT or self._left > 0 or self._response is None or self._response.closes

    @property
    def _is_gone(self) -> bool:
        return self._progress is _Progress.UNREAD

    async def run(self) -> None:
        """Run the app."""
        connection = self._connection
        try:
            await connection.app(self._scope(), self._receive, self._send)
        except Exception:
            await connection.config.log.exception("Error in ASGI Framework")
        if self._response is None and not self._is_gone:
            await self._fail(500)

    def _scope(self) -> dict[str, Any]:
        connection, request = self._connection, self._request
        path, _, query = request.target.partition(b"?")
        client, server = self._ends
        extensions: dict[str, Any] = {HEADER_MEMORY: request.memory, LISTENER: self}
        if len(self._wire.received) >= self._left:
            extensions[BODY_IS_HERE] = {}
        return {
            "type": "http",
            "http_version": "1.1",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "method": request.method,
            "scheme": "http",
            "path": unquote(path.decode()) if b"%" in path else path.decode(),
            "raw_path": path,
            "query_string": query,
            "root_path": connection.config.root_path,
            "headers": request.headers,
            "client": client,
            "server": server,
            "state": connection.state.copy(),
            "extensions": extensions,
        }

    async def _fail(self, status: int) -> None:
        """Tell of a failure that has no better response, and close the connection."""
        self._begin(status, _EMPTY)
        await self._write(b"", is_last=True)

    # ---- what the app receives ----

    async def _receive(self) -> Message:
        if not self._is_body_read and not self._is_gone:
            return await self._body()
        while self._progress is _Progress.OPEN:
            if await self._read_ahead():
                return {"type": WOKEN}
        return {"type": "http.disconnect"}

    async def _body(self) -> Message:
        """The next piece of the body."""
        wire = self._wire
        if self._left and not wire.received:
            wire.received = await wire.receive_some()
            if not wire.received:
                return await self._cut_off()
        body, wire.received = wire.received[: self._left], wire.received[self._left :]
        self._left -= len(body)
        self._is_body_read = not self._left
        return {"type": "http.request", "body": body, "more_body": not self._is_body_read}

    async def _cut_off(self) -> Message:
        """The client ended in the middle of its body."""
        if self._response is None:
            await self._fail(400)
        self._progress = _Progress.UNREAD
        return {"type": "http.disconnect"}

    async def _read_ahead(self) -> bool:
        """Wait for the client's end. What it sends instead is the next request's. Returns whether it was woken."""
        wire = self._wire
        try:
            if wire.received:
                self._wait, self._wake = _Wait.WAKE, trio.Event()
                await self._wake.wait()
            else:
                self._wait, self.has_listened = _Wait.CLIENT, True
                wire.received = await wire.receive_some()
                if not (wire.received or self._wait is _Wait.WOKEN):
                    self._progress = _Progress.UNREAD
            return self._wait is _Wait.WOKEN
        finally:
            self._wait = _Wait.NOTHING

    def wake(self) -> None:
        """See `Listener`."""
        if self._wait is _Wait.CLIENT:
            self._wait = _Wait.WOKEN
            self._wire.interrupt()
        elif self._wait is _Wait.WAKE:
            self._wait = _Wait.WOKEN
            self._wake.set()

    # ---- what it sends ----

    async def _send(self, message: Message) -> None:
        if self._is_gone:
            pass  # nobody reads it
        elif message["type"] == "http.response.start":
            self._begin(message["status"], message.get("headers", ()))
        elif self.sends_now:
            self._write_now(message.get("body", b""), is_last=not message.get("more_body", False))
        else:
            await self._write(message.get("body", b""), is_last=not message.get("more_body", False))
        if self._is_gone:
            raise trio.BrokenResourceError

    def _begin(self, status: int, headers: Any) -> None:
        """The head is sent with the first piece of the body."""
        connection = self._connection
        closes = self._left > 0 or not self._request.keeps_alive or not keeps_alive(connection.context)
        self._response = response_head(status, headers, _added(connection.config, int(time.time())), closes=closes)
        self._unsent = self._response.content

    async def _write(self, body: bytes, *, is_last: bool) -> None:
        assert self._response is not None
        content = self._response.framed(body, is_last=is_last)
        await self._transmit(content)
        if is_last:
            self._ended()

    async def _transmit(self, content: bytes) -> None:
        if self._unsent:
            content, self._unsent = self._unsent + content, b""
        if content and not await self._wire.transmit(content):
            self._progress = _Progress.UNREAD

    def _ended(self) -> None:
        if self._progress is _Progress.OPEN:
            self._progress = _Progress.SENT

    # ---- what other tasks send for it: see `Listener` ----

    def _write_now(self, body: bytes, *, is_last: bool) -> None:
        assert self._response is not None
        content = self._unsent + self._response.framed(body, is_last=is_last)
        self._unsent = content[self._wire.send_some(content) :]
        if self._unsent or (is_last and self._response.closes):
            raise trio.WouldBlock
        if is_last:
            self._ended()
            self._connection.idle_task.begin()

    async def send_rest(self) -> None:
        await self._transmit(b"")
        self._ended()
        if self._is_gone:
            raise trio.BrokenResourceError


@lru_cache(1)
def _added(config: Config, now: int) -> bytes:
    """The lines of the headers that hypercorn adds to every response in the second `now`."""
    return b"".join([b"%b: %b\r\n" % header for header in config.response_headers("h11")])
