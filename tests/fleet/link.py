"""A TCP proxy between a replica and the database, which cuts, refuses and freezes connections."""

from __future__ import annotations

import contextlib
import socket
import struct

import trio

_AT_ONCE = struct.pack("ii", 1, 0)


class Link:
    """One replica's way to the database.

    Args:
        target: host and port of the database.

    Attributes:
        port: where the replica connects to.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._streams: set[trio.SocketStream] = set()
        self._flows = trio.Event()
        self._flows.set()
        self._listening = trio.CancelScope()
        self._nursery: trio.Nursery
        self.port = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as self._nursery:
            await self._listen()
            task_status.started()
            await trio.sleep_forever()

    async def _listen(self) -> None:
        listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        self._listening = trio.CancelScope()
        self._nursery.start_soon(self._accept, listeners, self._listening)

    async def _accept(self, listeners: list[trio.SocketListener], scope: trio.CancelScope) -> None:
        with scope:
            await trio.serve_listeners(self._pass_on, listeners, handler_nursery=self._nursery)

    def cut(self) -> None:
        """End all connections with a reset."""
        for stream in self._streams:
            with contextlib.suppress(OSError):
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            stream.socket.close()

    async def refuse(self, seconds: float) -> None:
        """End all connections, and refuse new ones for so long."""
        self._listening.cancel()
        self.cut()
        await trio.sleep(seconds)
        await self._listen()

    async def freeze(self, seconds: float) -> None:
        """Let nothing pass for so long, in either direction, as if the network lost it all."""
        self._flows = trio.Event()
        await trio.sleep(seconds)
        self._flows.set()

    async def _pass_on(self, near: trio.SocketStream) -> None:
        try:
            far = await trio.open_tcp_stream(*self._target)
        except OSError:
            await near.aclose()
            return
        both = (near, far)
        self._streams.update(both)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, near, far, nursery.cancel_scope)
                nursery.start_soon(self._pump, far, near, nursery.cancel_scope)
        finally:
            self._streams.difference_update(both)
            for stream in both:
                stream.socket.close()

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream, both: trio.CancelScope) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for piece in source:
                await self._flows.wait()
                await sink.send_all(piece)
        both.cancel()
