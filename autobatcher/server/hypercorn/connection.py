"""hypercorn's connection, hardened against its client.

In hypercorn 0.18 an exception other than OSError in one connection ends the whole process. Clients can cause one: by
disconnecting with HTTP/2 streams in flight, by flooding PRIORITY frames, by opening too many streams.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import sys
from typing import Any

import trio
from hypercorn.events import Closed, RawData
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from .fair_queue import FairQueue
from .http1 import HardenedH11 as HardenedH11
from .http2 import HardenedH2 as HardenedH2  # they take the place of hypercorn's
from .peer import PEER, SocketPeer
from .sends import do_broken_sends_raise, send_seconds
from .task_group import HardenedTaskGroup as HardenedTaskGroup

logger: logging.Logger = logging.getLogger("autobatcher")

CLOSED_AT_ONCE = 100
"""Idle connections closed in one pass of the event loop."""

READ_AT_ONCE = 100
"""Connections read in one pass of the event loop. Each takes at least 0.1 ms, and thousands may become readable at
once."""

IDLE_SECONDS = 0.5
"""How long a connection must be idle to be closed for a new one. A client that has just connected sends its request."""


class IdleConnections:
    """Connections without a request, closed after `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadlines: dict[trio.SocketStream, float] = {}  # in order

    def add(self, stream: trio.SocketStream) -> None:
        """From now on, unless it is idle already."""
        self._deadlines.setdefault(stream, trio.current_time() + self._seconds)

    def discard(self, stream: trio.SocketStream) -> None:
        self._deadlines.pop(stream, None)

    def close(self, most: int, until: float = math.inf) -> None:
        """Close at most `most` connections due by `until`, oldest first. A task reading from one is woken."""
        for stream, deadline in list(itertools.islice(self._deadlines.items(), most)):
            if deadline > until:
                return
            self.discard(stream)
            stream.socket.close()

    def close_idle_for(self, seconds: float) -> None:
        """Close the oldest connection if it has been idle for that long."""
        self.close(1, trio.current_time() + self._seconds - seconds)

    async def run(self) -> None:
        """Close due connections, until cancelled."""
        while True:
            # No connection added meanwhile is due earlier than this.
            await trio.sleep_until(next(iter(self._deadlines.values()), trio.current_time() + self._seconds))
            self.close(CLOSED_AT_ONCE, trio.current_time())


class EndingContext(WorkerContext):
    """State shared by the connections of one worker: their send deadline, the idle ones, and the fair queue.

    Args:
        keep_alive_seconds: how long a connection may be idle.
        most_connections: with so many open, idle ones are closed for new ones, or new ones wait to be accepted.

    Attributes:
        keeps_alive: whether a connection may be used for another request; if not, each response closes its own.
    """

    def __init__(self, keep_alive_seconds: float, most_connections: float = math.inf) -> None:
        super().__init__(None)
        self._room = most_connections
        self._has_room = trio.Event()
        self.keeps_alive: bool = True
        self.sends_until: float = math.inf
        self.sending: set[trio.CancelScope] = set()
        self.idle: IdleConnections = IdleConnections(keep_alive_seconds)
        self.reading: FairQueue = FairQueue(READ_AT_ONCE)

    async def connection_begins(self) -> None:
        """Wait until there is room for one more connection. Those that are idle are closed for that."""
        while self._room <= 0:
            self._has_room = trio.Event()
            self.idle.close_idle_for(IDLE_SECONDS)
            with trio.move_on_after(IDLE_SECONDS):
                await self._has_room.wait()
        self._room -= 1

    def connection_ended(self) -> None:
        self._room += 1
        self._has_room.set()

    async def send(self, stream: trio.SocketStream, content: bytes | memoryview) -> bool:
        """Whether all bytes were sent in time.

        They are sent under a shield, since half a frame would corrupt the connection. It has a deadline, which `end_at`
        moves forward.
        """
        deadline = min(trio.current_time() + send_seconds(len(content)), self.sends_until)
        with trio.CancelScope(shield=True, deadline=deadline) as scope:
            self.sending.add(scope)
            try:
                await stream.send_all(content)
                return True
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
            finally:
                self.sending.discard(scope)
        return False

    async def end_at(self, deadline: float) -> None:
        """Close idle connections now, and limit sends to `deadline`."""
        await self.terminated.set()
        self.sends_until = deadline
        for scope in self.sending:
            scope.deadline = min(scope.deadline, deadline)
        self.idle.close(sys.maxsize)


class IdleTask:
    """Takes the place of the task by which hypercorn closes an idle connection after its time, or at the stop."""

    __slots__ = ("_context", "_stream")

    def __init__(self, context: EndingContext, stream: Any) -> None:
        self._context = context
        self._stream = stream

    def begin(self) -> None:
        """The connection has no request."""
        if self._context.terminated.is_set():
            self._stream.socket.close()
        else:
            self._context.idle.add(self._stream)

    def end(self) -> None:
        """It has one, or is closed."""
        self._context.idle.discard(self._stream)

    async def restart(self, task_group: Any, action: Any) -> None:
        self.begin()

    async def stop(self) -> None:
        self.end()


class Connection(TCPServer):
    """One connection. Its failure does not affect others."""

    context: EndingContext
    stream: Any  # a trio.SocketStream: there is no TLS here
    app: Any
    protocol: Any
    idle_task: Any
    send_lock: Any

    def __init__(self, app: Any, config: Any, context: EndingContext, state: Any, stream: Any) -> None:
        self._peer = SocketPeer(stream)
        super().__init__(app, config, context, ConnectionState({**state, PEER: self._peer}), stream)
        self.idle_task, self.send_lock = IdleTask(context, stream), None

    async def protocol_send(self, event: Any) -> None:
        """Like hypercorn's, but with a time limit for stalled readers, and `let_broken_sends_raise`."""
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            if isinstance(event, Closed):
                self._reading.cancel()  # it may wait for the end of the response before a pipelined request
            return
        async with self.send_lock:
            if await self.context.send(self.stream, event.data):
                return
        await trio.aclose_forcefully(self.stream)
        await self.protocol.handle(Closed())
        self._reading.cancel()
        if do_broken_sends_raise():
            raise trio.BrokenResourceError

    async def run(self) -> None:
        try:
            await self._serve()
        except* Exception as failures:
            # Most likely caused by the client. Known: KeyError, BusyResourceError, TooManyStreamsError.
            kinds = sorted({type(failure).__name__ for failure in _leaves(failures)})
            logger.warning("autobatcher: a connection failed and was dropped: %s", ", ".join(kinds))
        finally:
            self.context.connection_ended()

    async def _serve(self) -> None:
        """Serve as hypercorn does."""
        self.send_lock, self._reading = trio.Lock(), trio.CancelScope()
        try:
            await super().run()
        finally:
            self.idle_task.end()
            self.protocol = None  # breaks the reference cycle: it holds methods of this object

    async def _read_data(self) -> None:
        await self._read_on(b"")

    async def _read_on(self, received: bytes) -> None:
        """Read all that comes until the connection is closed, after what was received before."""
        with self._reading:
            if received:  # nothing would mean the end
                await self.protocol.handle(RawData(received))
            await super()._read_data()

    async def _close(self) -> None:
        self._peer.end()
        await super()._close()


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


def without_late_disconnects(app: Any) -> Any:
    """ASGI middleware: hide disconnects from a handler that has started its response, and the failures of its sends.

    After a response, hypercorn reports the disconnect from within the handler's own `send`. Quart-Trio then cancels the
    handler, so that hypercorn never restarts the keep-alive timer, and a graceful shutdown waits for idle connections
    until its deadline.
    """

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        is_answering = False

        async def noted_send(event: Any) -> None:
            nonlocal is_answering
            is_answering = True
            with contextlib.suppress(trio.BrokenResourceError):
                await send(event)

        async def early_receive() -> Any:
            event = await receive()
            if event["type"] == "http.disconnect" and is_answering:
                await trio.sleep_forever()  # cancelled once the handler is done
            return event

        if scope["type"] == "http":
            await app(scope, early_receive, noted_send)
        else:
            await app(scope, receive, send)

    return wrapped
