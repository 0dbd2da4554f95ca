"""Accepts connections as long as there is room for them."""

from __future__ import annotations

import socket

import trio

from .connection import EndingContext


class BoundedListener(trio.abc.Listener[trio.SocketStream]):
    """Accepts a connection once the context has room for it."""

    def __init__(self, listening: socket.socket, context: EndingContext) -> None:
        self._listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        self._context = context

    async def accept(self) -> trio.SocketStream:
        """Cancelled: no connection was accepted."""
        await self._context.connection_begins()
        try:
            return await self._listener.accept()
        except BaseException:
            self._context.connection_ended()
            raise

    async def aclose(self) -> None:
        await self._listener.aclose()
