"""The bytes of a connection that one task reads and writes."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import trio
from hypercorn.trio.tcp_server import MAX_RECV
from hypercorn.utils import parse_socket_addr

from .connection import EndingContext


class Wire:
    """A stream, past trio's own methods: each of those is a checkpoint or two, which cost more than they do.

    Attributes:
        received: what was received and not used.
    """

    __slots__ = ("_context", "_is_interrupted", "_socket", "_stream", "received")

    def __init__(self, stream: Any, context: EndingContext) -> None:
        self._stream = stream
        self._context = context
        self._socket: Any = stream.socket._sock
        self._is_interrupted = False
        self.received: bytes = b""

    def ends(self) -> tuple[Any, Any]:
        """The addresses of the client and of the server. Raises OSError if the client is gone."""
        addresses = self._socket.getpeername(), self._socket.getsockname()
        client, server = (parse_socket_addr(self._socket.family, address) for address in addresses)
        return client, server

    async def receive_some(self) -> bytes:
        """Bytes from the client; b"" at the end, in whatever way it comes, and after `interrupt`. Cancelled: none were
        received."""
        self._is_interrupted = False
        try:
            # Trio 0.35 would take the next task that waits for -1 for a second one.
            while self._socket.fileno() >= 0 and not self._is_interrupted:
                await trio.lowlevel.wait_readable(self._socket)
                await self._context.reading.pass_through()
                try:
                    received: bytes = self._socket.recv(MAX_RECV)
                    return received
                except BlockingIOError:
                    continue
        except (OSError, trio.ClosedResourceError):
            return b""
        await trio.lowlevel.checkpoint()
        return b""

    def interrupt(self) -> None:
        """End `receive_some`."""
        self._is_interrupted = True
        trio.lowlevel.notify_closing(self._socket)

    async def transmit(self, content: bytes) -> bool:
        """Whether all bytes were sent in time; usually at once. If not, the connection is closed."""
        sent = self.send_some(content)
        if sent == len(content) or await self._context.send(self._stream, memoryview(content)[sent:]):
            return True
        self._stream.socket.close()
        return False

    def send_some(self, content: bytes) -> int:
        """Send as much as can be sent at once. Returns how many bytes that was."""
        try:
            sent: int = self._socket.send(content)
        except OSError:
            return 0
        return sent

    def close(self) -> None:
        """Close the connection. Never waits."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._stream.socket.close()
