"""A connection that serves plain HTTP/1.1 requests in one task, and gives anything else to hypercorn, bytes and all.

hypercorn runs a reader task and a task for each request's app, with locks and channels between them, and h11 reads
every line. Here thousands of connections wait for hours: the app runs in the connection's task, and the socket is read
when the app receives. See plain_head.py for what is plain.
"""

from __future__ import annotations

from typing import Any

import trio

from .connection import Connection
from .plain_exchange import PlainExchange
from .plain_head import is_unfinished, plain_head
from .wire import Wire


class PlainConnection(Connection):
    """A connection that serves plain HTTP/1.1 requests in one task."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._wire = Wire(self.stream, self.context)

    async def _serve(self) -> None:
        try:
            if not await self._serve_plain():
                await super()._serve()
        finally:
            self.idle_task.end()
            self._peer.end()
            self._wire.close()

    async def _serve_plain(self) -> bool:
        """Serve one request after the other. False if the next is not plain; its bytes are received, and not used."""
        wire = self._wire
        try:
            ends = wire.ends()
        except OSError:
            return True
        while True:
            self.idle_task.begin()
            if not await self._receive_head():
                return not wire.received
            head = plain_head(wire.received)
            if head is None:
                return False
            wire.received = wire.received[head.size :]
            self.idle_task.end()
            exchange = PlainExchange(self, wire, head, ends)
            await exchange.run()
            if exchange.ends_connection or self.context.terminated.is_set():
                return True
            if wire.received and not exchange.has_listened:
                await trio.lowlevel.checkpoint()  # requests in one piece do not hold up the others

    async def _receive_head(self) -> bool:
        """False at the end of the connection."""
        wire = self._wire
        while is_unfinished(wire.received, self.config.h11_max_incomplete_size):
            more = await wire.receive_some()
            if not more:
                return False
            wire.received += more
        return True

    async def _read_data(self) -> None:
        received, self._wire.received = self._wire.received, b""
        await self._read_on(received)
