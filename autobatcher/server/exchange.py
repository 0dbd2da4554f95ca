"""One HTTP exchange over ASGI: the request's body, within limits, and a response that may start before its end."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import trio

from ..client.http_parts import HttpParts
from ..upstream.decompression import EncodingError
from .body_limiter import BUSY_SECONDS, HeldBody
from .content_coding import UnknownEncodingError, content_decoder
from .header_memory import Read, kept, memory_of
from .hypercorn.extensions import BODY_IS_HERE, LISTENER, WOKEN, Listener
from .hypercorn.peer import PEER, Peer

DRAINED_BYTES, DRAINED_SECONDS = 100_000_000, 5.0
"""Limits for reading an unwanted body."""

_LENGTH_DIGITS = 19
"""More than any size has. `int` refuses thousands of digits."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ClientGoneError(Exception):
    """The client closed the connection, or its half of it."""


class RefusedError(Exception):
    """The request is refused.

    Attributes:
        status_code, message: of the response.
        retry_after: seconds after which the client may retry; None if a retry cannot succeed.
    """

    def __init__(
        self, status_code: int, message: str, *, code: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.message = message
        self.code = code
        self.retry_after = retry_after


_UNKNOWN = Peer()


class Exchange:
    """One request and its response.

    Attributes:
        headers: of the request, names in lower case, but for Content-Length; repeated headers are joined with commas.
        has_begun: whether the response has started.
        has_own_connection: whether no other request shares the connection meanwhile, as in HTTP/2.
        peer: the client, as far as the server knows it.
        has_rest: whether the end of a response that another task sent was not sent whole: see `send_rest`.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._memory = memory_of(scope)
        self.headers: Mapping[str, str] = kept(self._memory, _headers, scope["headers"])
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        self.has_own_connection: bool = not scope.get("http_version", "2").startswith("2")
        self.is_http_1_0: bool = scope.get("http_version") == "1.0"
        self.has_begun: bool = False
        self.peer: Peer = scope.get("state", {}).get(PEER, _UNKNOWN)
        self.peer.next_request()
        self._has_more_body = True
        self._length = _length(scope["headers"])
        extensions = scope.get("extensions", {})
        self._is_body_here = BODY_IS_HERE in extensions
        self._listener: Listener | None = extensions.get(LISTENER)
        self._listening: trio.CancelScope | None = None
        self.has_rest: bool = False
        self._receive = receive
        self._asgi_send = send

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        try:
            await self._asgi_send(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ClientGoneError from None
        except trio.WouldBlock:
            self.has_rest = not message.get("more_body", False)
            raise

    def set_sends_now(self, sends_now: bool) -> None:
        """While this is set, another task sends for this one, which listens. That never waits, but raises
        `trio.WouldBlock` if there is a rest."""
        assert self._listener is not None
        self._listener.sends_now = sends_now

    async def send_rest(self) -> None:
        """Send what another task left of the end of the response. Raises `ClientGoneError`."""
        assert self._listener is not None
        try:
            await self._listener.send_rest()
        except trio.BrokenResourceError:
            raise ClientGoneError from None

    async def read_body(self, held: HeldBody, *, most_bytes: int, most_seconds: float) -> bytes:
        """The whole body, decompressed if it is gzip or deflate. `held` grows with it.

        Raises:
            RefusedError: 400, 408, 413, 415 or 503.
            ClientGoneError: the client disconnected before the end of the body.
        """
        self._check_length(held, most_bytes)
        try:
            if self._is_body_here:  # a time limit costs more than the reading
                return await self._read_decoded(held, most_bytes)
            with trio.move_on_after(most_seconds):
                return await self._read_decoded(held, most_bytes)
        except UnknownEncodingError as error:
            raise RefusedError(415, str(error)) from None
        except EncodingError as error:
            raise RefusedError(400, f"The body came {error}.") from None
        raise RefusedError(408, f"The body did not arrive within {most_seconds:.0f} seconds.")

    def _check_length(self, held: HeldBody, most_bytes: int) -> None:
        """Refuse a body by the length that its client says it has."""
        if not self._length.isdigit():
            return
        size = int(self._length[:_LENGTH_DIGITS])
        if size > most_bytes:
            raise too_large(most_bytes)
        if not held.can_ever_hold(size):
            raise never_room(held)

    async def _read_decoded(self, held: HeldBody, most_bytes: int) -> bytes:
        decoder = content_decoder(self.headers.get("content-encoding", ""))
        if self._is_body_here and decoder is None:
            return _held(await self._next_chunk(), held, most_bytes)
        whole, received = io.BytesIO(), 0  # a list of chunks of a few bytes each would take thirty times their size
        while self._has_more_body:
            chunk = await self._next_chunk()
            received += len(chunk)
            if received > most_bytes:
                raise too_large(most_bytes)
            if decoder is None:
                _add(chunk, whole, held, most_bytes)
                continue
            for piece in decoder.pieces(chunk):
                _add(piece, whole, held, most_bytes)
                await trio.lowlevel.checkpoint()  # a few bytes may become many pieces
        if decoder is not None:
            decoder.end()
        return whole.getvalue()

    async def _next_chunk(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        self._has_more_body = message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        return chunk

    def kept(self, read: Callable[[Mapping[str, str]], Read]) -> Read:
        """What `read` says of the headers, kept for the next requests with the same ones."""
        return kept(self._memory, read, self.headers)

    async def drain(self) -> None:
        """Read and discard the rest of the body, within limits. Raises `ClientGoneError`.

        The server closes a connection whose request was not read to the end, with a reset if bytes are unread. Many
        clients would then lose the response, or their next request.
        """
        left = DRAINED_BYTES
        with trio.move_on_after(DRAINED_SECONDS):
            while self._has_more_body and left > 0:
                left -= len(await self._next_chunk())

    async def refuse(self, parts: HttpParts) -> None:
        """Drain the request, then respond."""
        try:
            await self.drain()
            await self.respond(parts)
        except ClientGoneError:
            return

    async def listen(self) -> None:
        """Wait until `wake` is called. Raises `ClientGoneError`, also after the end of a response."""
        if self._listener is not None:
            await self._until_gone_or_woken()
            return
        with trio.CancelScope() as self._listening:
            await self._until_gone_or_woken()

    async def _until_gone_or_woken(self) -> None:
        while (kind := (await self._receive())["type"]) != WOKEN:
            if kind == "http.disconnect":
                raise ClientGoneError

    def wake(self) -> None:
        """End `listen`."""
        if self._listener is not None:
            self._listener.wake()
        elif self._listening is not None:
            self._listening.cancel()

    @property
    def is_listening(self) -> bool:
        """Whether another task may send: see `Listener`."""
        return self._listener is not None and self._listener.is_listening

    async def begin(self, status_code: int, headers: Mapping[str, str]) -> None:
        self.has_begun = True
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status_code, "headers": encoded})

    async def write(self, content: bytes) -> None:
        await self._send({"type": "http.response.body", "body": content, "more_body": True})

    async def end(self, content: bytes) -> None:
        await self._send({"type": "http.response.body", "body": content, "more_body": False})

    async def respond(self, parts: HttpParts) -> None:
        """Send a complete response."""
        length = {"content-length": str(len(parts["content"]))}
        await self.begin(parts["status_code"], {**parts["headers"], **length})
        await self.end(parts["content"])


def no_room() -> RefusedError:
    message = "Too many requests are waiting in this proxy. Try again later."
    return RefusedError(503, message, code="no_room", retry_after=BUSY_SECONDS)


def never_room(held: HeldBody) -> RefusedError:
    """A retry would be refused, too."""
    message = f"This body alone is larger than {held.most:,} bytes, this proxy's --max-waiting-bytes."
    return RefusedError(503, message, code="no_room")


def _add(piece: bytes, whole: io.BytesIO, held: HeldBody, most_bytes: int) -> None:
    """Hold the next piece of a body, and add it."""
    whole.write(_held(piece, held, most_bytes, before=whole.tell()))


def _held(piece: bytes, held: HeldBody, most_bytes: int, *, before: int = 0) -> bytes:
    """Hold a piece of a body, after so many bytes."""
    size = before + len(piece)
    if size > most_bytes:
        raise too_large(most_bytes)
    if not held.grow(len(piece)):
        raise no_room() if held.can_ever_hold(size) else never_room(held)
    return piece


def too_large(most_bytes: int) -> RefusedError:
    return RefusedError(413, f"The body is larger than {most_bytes:,} bytes, this proxy's --max-body-bytes.")


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name != "content-length":
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _length(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The Content-Length; b"" without one, and with two."""
    lengths = [value for name, value in pairs if name == b"content-length"]
    return lengths[0] if len(lengths) == 1 else b""
