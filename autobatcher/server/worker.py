"""hypercorn's trio worker, made safe against its clients.

hypercorn 0.18 ends the whole process when one connection meets an exception that is no OSError; clients can cause
that (a disconnect with HTTP/2 streams in flight, floods of PRIORITY frames, too many streams). Its own `serve` has no
place for another connection class, so this is a worker of ours, made of hypercorn's parts.
"""

from __future__ import annotations

import contextlib
import logging
import math
import socket
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import h2.errors
import h2.exceptions
import hypercorn.protocol
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from hypercorn.utils import wrap_app

logger: logging.Logger = logging.getLogger("autobatcher")

BACKLOG = 4096
"""Connections that may wait to be accepted: with hypercorn's 100, five thousand at once do not get in."""

KEEP_ALIVE_SECONDS = 75.0
"""Longer than the idle time after which pooled clients (httpx: 5 s, nginx: 60 s) close a connection themselves, so
that none of them sends into a connection that we are closing."""

GRACEFUL_SECONDS = 5.0
"""What connections get to finish once waiting requests have been answered; idle ones are closed at once."""

TELL_SECONDS = 1.0
"""For setting hypercorn's own event, which waits for nothing; only its interface is asynchronous."""

KEEP_ALIVE_PROBES = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""A peer that vanished without a word is noticed two minutes later; the kernel's own default is two hours."""

MAX_H2_STREAMS = 500
"""Requests waiting on one HTTP/2 connection; from 1,000 on, hypercorn's priority tree raises."""


def make_config(*, log_level: str = "WARNING") -> Config:
    """hypercorn's settings for requests that wait for hours."""
    config = Config()
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.keep_alive_max_requests = 10**9
    config.h2_max_concurrent_streams = MAX_H2_STREAMS
    config.graceful_timeout = GRACEFUL_SECONDS
    config.read_timeout = None  # it would cover the silent wait for a batch
    config.accesslog = None
    config.loglevel = log_level
    return config


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on `host`; port 0 takes a free one. Raises OSError if that cannot be done."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    # hypercorn never looks whether a silent peer is still there; the kernel does, and accepted sockets inherit this.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE_PROBES.items():
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    listener.setblocking(False)
    return [listener]


async def run_worker(
    app: Any,
    config: Config,
    sockets: list[socket.socket],
    *,
    stop: Callable[[], Awaitable[None]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` until `stop` returns; then finish what is going on, within `config.graceful_timeout`."""
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
    state: LifespanState = {}
    lifespan = Lifespan(wrapped, config, state)
    context = WorkerContext(None)
    async with trio.open_nursery() as lifespan_nursery:
        await lifespan_nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as connections:
            serve_connection = partial(_Connection, wrapped, config, context, ConnectionState(state.copy()))
            listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(each)) for each in sockets]
            try:
                async with trio.open_nursery() as accepting:
                    await accepting.start(
                        partial(trio.serve_listeners, serve_connection, listeners, handler_nursery=connections)
                    )
                    task_status.started()
                    await stop()
                    accepting.cancel_scope.cancel()
            finally:
                with trio.move_on_after(TELL_SECONDS, shield=True):
                    await context.terminated.set()
                connections.cancel_scope.deadline = trio.current_time() + config.graceful_timeout
                _sends(context).end_at(connections.cancel_scope.deadline)
        await lifespan.wait_for_shutdown()
        lifespan_nursery.cancel_scope.cancel()


STALLED_SECONDS = 600.0
"""How long one piece of a response may take to be sent: 64 MB at 1 Mbit/s. A client that takes longer is gone."""

BROKEN_SENDS_RAISE: ContextVar[bool] = ContextVar("BROKEN_SENDS_RAISE", default=False)
"""Whether an app wants to hear of it, as `trio.BrokenResourceError` from its `send`, when the client is gone. hypercorn
itself tells nobody. (HTTP/1.1: an HTTP/2 response is sent by a task of its own.)"""


class _Sends:
    """What is being sent on any connection of one worker, and until when it may."""

    def __init__(self) -> None:
        self.deadline = math.inf
        self.scopes: set[trio.CancelScope] = set()

    def end_at(self, deadline: float) -> None:
        self.deadline = deadline
        for scope in self.scopes:
            scope.deadline = min(scope.deadline, deadline)


_sends_of: WeakKeyDictionary[Any, _Sends] = WeakKeyDictionary()


def _sends(context: Any) -> _Sends:
    return _sends_of.setdefault(context, _Sends())


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


class _Connection(TCPServer):
    """One connection, whose failure is its own."""

    async def protocol_send(self, event: Any) -> None:
        """hypercorn's own, but that a reader who stalls cannot hold us for ever, and that broken sends can be told.

        Bytes are sent under a shield, since half a frame would spoil a connection. The shield has a clock, which
        `run_worker` shortens when it stops.
        """
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        async with self.send_lock:
            deadline = min(trio.current_time() + STALLED_SECONDS, _sends(self.context).deadline)
            with trio.CancelScope(shield=True, deadline=deadline) as scope:
                _sends(self.context).scopes.add(scope)
                try:
                    await self.stream.send_all(event.data)
                    return
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass
                finally:
                    _sends(self.context).scopes.discard(scope)
        await trio.aclose_forcefully(self.stream)
        await self.protocol.handle(Closed())
        if BROKEN_SENDS_RAISE.get():
            raise trio.BrokenResourceError

    async def run(self) -> None:
        try:
            await super().run()
        except* Exception as failures:
            # A client's doing, most likely: known ones are KeyError, BusyResourceError and TooManyStreamsError.
            kinds = sorted({type(failure).__name__ for failure in _leaves(failures)})
            logger.warning("autobatcher: a connection failed and was dropped: %s", ", ".join(kinds))


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
