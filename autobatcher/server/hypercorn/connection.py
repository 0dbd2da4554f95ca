"""A connection of the proxy: hypercorn's, made safe against its client. And what an app must know of that.

hypercorn 0.18 ends the whole process when one connection meets an exception that is no OSError; clients can cause
that (a disconnect with HTTP/2 streams in flight, floods of PRIORITY frames, too many streams).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import h2.errors
import h2.exceptions
import hypercorn.protocol
import trio
from hypercorn.events import Closed, RawData
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext

from .fair_queue import FairQueue

logger: logging.Logger = logging.getLogger("autobatcher")

STALLED_SECONDS = 600.0
"""How long one piece of a response may take to be sent: 64 MB at 1 Mbit/s. A client that takes longer is gone."""

CLOSED_AT_ONCE = 100
"""Idle connections that are closed in one pass of the event loop."""

READ_AT_ONCE = 100
"""Connections that are read in one pass of the event loop: when thousands of clients call or leave together, each takes
0.1 ms at least."""

_BROKEN_SENDS_RAISE: ContextVar[bool] = ContextVar("BROKEN_SENDS_RAISE", default=False)


@contextlib.contextmanager
def broken_sends_raise() -> Iterator[None]:
    """For an app: in here its `send` raises `trio.BrokenResourceError` when the client is gone.

    hypercorn itself tells nobody. (HTTP/1.1: an HTTP/2 response is sent by a task of its own.)
    """
    token = _BROKEN_SENDS_RAISE.set(True)
    try:
        yield
    finally:
        _BROKEN_SENDS_RAISE.reset(token)  # the next request of the connection may be in the same task


class IdleConnections:
    """Connections without a request. After `seconds` of that they are closed."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadlines: dict[trio.SocketStream, float] = {}  # the next one is the first

    def add(self, stream: trio.SocketStream) -> None:
        self._deadlines[stream] = trio.current_time() + self._seconds

    def discard(self, stream: trio.SocketStream) -> None:
        self._deadlines.pop(stream, None)

    def close(self, most: int, until: float = math.inf) -> None:
        """Close those that were due by then, the oldest first. Whoever reads from one is told of it."""
        for stream, deadline in list(itertools.islice(self._deadlines.items(), most)):
            if deadline > until:
                return
            self.discard(stream)
            stream.socket.close()

    async def run(self) -> None:
        """Close those that are due, until cancelled."""
        while True:
            # Nobody who comes meanwhile is due before the first one, or before all of the time has passed.
            await trio.sleep_until(next(iter(self._deadlines.values()), trio.current_time() + self._seconds))
            self.close(CLOSED_AT_ONCE, trio.current_time())


class EndingContext(WorkerContext):
    """What the connections of one worker share: until when they may send, which are idle, and who goes on first."""

    def __init__(self, keep_alive_seconds: float) -> None:
        super().__init__(None)
        self.sends_until: float = math.inf
        self.sending: set[trio.CancelScope] = set()
        self.idle: IdleConnections = IdleConnections(keep_alive_seconds)
        self.reading: FairQueue = FairQueue(READ_AT_ONCE)

    async def end_at(self, deadline: float) -> None:
        """Idle connections end now, and what is being sent by then at the latest."""
        await self.terminated.set()
        self.sends_until = deadline
        for scope in self.sending:
            scope.deadline = min(scope.deadline, deadline)
        self.idle.close(sys.maxsize)


class _ResettingH2(H2Protocol):
    """HTTP/2 that resets a stream whose response was begun and never ended: hypercorn 0.18 leaves it open for ever."""

    async def stream_send(self, event: Any) -> None:
        await super().stream_send(event)
        if isinstance(event, StreamClosed) and not self._has_ended(event.stream_id):
            with contextlib.suppress(h2.exceptions.ProtocolError):  # the client was faster
                self.connection.reset_stream(event.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
                await self._flush()
            await self.stream_buffers.pop(event.stream_id).close()
            self.priority.remove_stream(event.stream_id)

    def _has_ended(self, stream_id: int) -> bool:
        buffer = self.stream_buffers.get(stream_id)
        return buffer is None or buffer._complete


# `ProtocolWrapper` makes connections of the class that this name in its module stands for.
setattr(hypercorn.protocol, "H2Protocol", _ResettingH2)  # noqa: B010  (type checkers know of no such name there)


class Connection(TCPServer):
    """One connection, whose failure is its own."""

    context: EndingContext
    stream: Any  # a trio.SocketStream: there is no TLS here

    async def protocol_send(self, event: Any) -> None:
        """hypercorn's own, but that a reader who stalls cannot hold us for ever, and that broken sends can be told.

        Bytes are sent under a shield, since half a frame would spoil a connection. The shield has a clock, which
        `run_worker` shortens when it stops.
        """
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        async with self.send_lock:
            if await self._send_bytes(event.data):
                return
        await trio.aclose_forcefully(self.stream)
        await self.protocol.handle(Closed())
        if _BROKEN_SENDS_RAISE.get():
            raise trio.BrokenResourceError

    async def _send_bytes(self, content: bytes) -> bool:
        """Whether they could be sent, in time."""
        deadline = min(trio.current_time() + STALLED_SECONDS, self.context.sends_until)
        with trio.CancelScope(shield=True, deadline=deadline) as scope:
            self.context.sending.add(scope)
            try:
                await self.stream.send_all(content)
                return True
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
            finally:
                self.context.sending.discard(scope)
        return False

    async def run(self) -> None:
        try:
            await self._serve()
        except* Exception as failures:
            # A client's doing, most likely: known ones are KeyError, BusyResourceError and TooManyStreamsError.
            kinds = sorted({type(failure).__name__ for failure in _leaves(failures)})
            logger.warning("autobatcher: a connection failed and was dropped: %s", ", ".join(kinds))

    async def _serve(self) -> None:
        await super().run()


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


def without_late_disconnects(app: Any) -> Any:
    """ASGI middleware: a handler that has begun to answer is not told of a disconnect, and comes to its own end.

    After a response, hypercorn tells of the disconnect from within the handler's own `send`. Quart-Trio cancels the
    handler there, so that hypercorn's next step is lost: the keep-alive timer is never set again, and a graceful
    shutdown waits its whole time for idle connections.
    """

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        is_answering = False

        async def noted_send(event: Any) -> None:
            nonlocal is_answering
            is_answering = True
            await send(event)

        async def early_receive() -> Any:
            event = await receive()
            if event["type"] == "http.disconnect" and is_answering:
                await trio.sleep_forever()  # until the handler is done, and the nursery around both cancelled
            return event

        if scope["type"] == "http":
            await app(scope, early_receive, noted_send)
        else:
            await app(scope, receive, send)

    return wrapped
