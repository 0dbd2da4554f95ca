"""One HTTP exchange over ASGI: a request's body, within limits, and a response that may begin before it is known."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import trio

from ..client.http_parts import HttpParts

DRAINED_BYTES, DRAINED_SECONDS = 100_000_000, 5.0
"""How much of a body that nobody wants is read, and for how long."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ClientGoneError(Exception):
    """The connection ended, or the client closed its half of it."""


class RefusedError(Exception):
    """The request cannot be taken.

    Attributes:
        status_code, message: what the client is told.
        retry_after: seconds after which it may try again; None if that is no use.
    """

    def __init__(
        self, status_code: int, message: str, *, code: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.message = message
        self.code = code
        self.retry_after = retry_after


class Exchange:
    """See the module.

    Attributes:
        headers: of the request, names in lower case; a name that comes twice has both values, with a comma.
        has_begun: whether a status is on its way to the client.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers: Mapping[str, str] = _headers(scope)
        self.path: str = scope["path"]
        self.is_http_1_0: bool = scope.get("http_version") == "1.0"
        self.has_begun: bool = False
        self._has_more_body = True
        self._receive = receive
        self._asgi_send = send

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        try:
            await self._asgi_send(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ClientGoneError from None

    async def read_body(self, *, most_bytes: int, most_seconds: float) -> bytes:
        """The body, decompressed if it is gzip or deflate.

        Raises:
            RefusedError: 408, 413, 415 or 400.
            ClientGoneError: if it never comes to its end.
        """
        length = self.headers.get("content-length", "")
        if length.isdecimal() and int(length) > most_bytes:
            raise too_large(most_bytes)
        with trio.move_on_after(most_seconds) as limit:
            body = await self._read_raw(most_bytes)
        if limit.cancelled_caught:
            raise RefusedError(408, f"The body did not arrive within {most_seconds:.0f} seconds.")
        return _decoded(body, self.headers.get("content-encoding", ""), most_bytes)

    async def _read_raw(self, most_bytes: int) -> bytes:
        chunks, size = [], 0
        while self._has_more_body:
            chunks.append(await self._next_chunk())
            size += len(chunks[-1])
            if size > most_bytes:
                raise too_large(most_bytes)
        return b"".join(chunks)

    async def _next_chunk(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        self._has_more_body = message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        return chunk

    async def drain(self) -> None:
        """Read what is left of the body and throw it away, within limits. Raises `ClientGoneError`.

        A connection that is answered before it was read is closed, by a reset if there are unread bytes. Then many
        clients see no response, or send their next request into nothing.
        """
        left = DRAINED_BYTES
        with trio.move_on_after(DRAINED_SECONDS):
            while self._has_more_body and left > 0:
                left -= len(await self._next_chunk())

    async def refuse(self, parts: HttpParts) -> None:
        """Respond to a request whose body may not have been read."""
        try:
            await self.drain()
            await self.respond(parts)
        except ClientGoneError:
            return

    async def wait_until_gone(self) -> None:
        """Return when the client is gone. To be cancelled by whoever has news for it."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def begin(self, status_code: int, headers: Mapping[str, str]) -> None:
        self.has_begun = True
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status_code, "headers": encoded})

    async def write(self, content: bytes) -> None:
        await self._send({"type": "http.response.body", "body": content, "more_body": True})

    async def end(self, content: bytes) -> None:
        await self._send({"type": "http.response.body", "body": content, "more_body": False})

    async def respond(self, parts: HttpParts) -> None:
        """A whole response at once."""
        length = {"content-length": str(len(parts["content"]))}
        await self.begin(parts["status_code"], {**parts["headers"], **length})
        await self.end(parts["content"])


def too_large(most_bytes: int) -> RefusedError:
    return RefusedError(413, f"The request is larger than this proxy takes: {most_bytes:,} bytes (--max-body-bytes).")


def _headers(scope: Scope) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def _decoded(body: bytes, encoding: str, most_bytes: int) -> bytes:
    """A body without its content encoding; never more than so many bytes of it."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _WINDOW_BITS:
        raise RefusedError(415, "This proxy takes bodies as they are, or with content-encoding gzip or deflate.")
    content = b""
    while body:  # gzip may have several members
        inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
        try:
            content += inflater.decompress(body, most_bytes + 1 - len(content))
        except zlib.error:
            raise RefusedError(400, f"The body is not valid {encoding}.") from None
        if len(content) > most_bytes:
            raise too_large(most_bytes)
        if not inflater.eof:
            raise RefusedError(400, f"The body is cut: its {encoding} has no end.")
        body = inflater.unused_data
    return content
