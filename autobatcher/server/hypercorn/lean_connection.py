"""A connection that serves HTTP/1.1 in one task, for hypercorn 0.18.

hypercorn runs a reader task, a task for each request's app and a new one for each idle period, with locks and channels
between them, and writes each response in three pieces. Here thousands of connections wait for hours, so the app runs in
the connection's task, the socket is read when the app receives, and the idle timeout is a deadline. Parsing, the order
of events and every response remain hypercorn's; so does all of HTTP/2.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, cast

import h11
import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h11 import H2ProtocolAssumedError
from hypercorn.trio.task_group import TaskGroup, _handle
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import EventWrapper, TrioSingleTask
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from .connection import Connection
from .http1 import HardenedH11

CLOSE_SECONDS = 1.0
"""For shutting down and closing a socket, which never waits; only the interface is asynchronous."""

MESSAGES_AT_ONCE = 500
"""Pieces of a body that are parsed in one pass of the event loop, which takes 10 ms: each may have one byte."""

Message = MutableMapping[str, Any]
Call = Callable[[], Awaitable[None]]


class LeanConnection(Connection):
    """A connection that serves HTTP/1.1 in one task."""

    protocol: Any
    send_lock: Any
    idle_task: Any

    async def _serve(self) -> None:
        self._is_over = False
        self._call: Call | None = None
        self._task_group = TaskGroup()  # entered for HTTP/2 only, which also sets these two:
        self.send_lock, self.idle_task = _NO_LOCK, None
        try:
            self.protocol, self._http_1 = self._protocols()
            self._set_idle(True)
            await self._read_data()
        except H2ProtocolAssumedError as switch:
            await self._serve_http_2(switch)
        except OSError:
            pass
        finally:
            self._set_idle(False)
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await self._close()
            self._leave_no_circles()

    def _leave_no_circles(self) -> None:
        """Break the reference cycles: both objects hold methods of this one."""
        self.protocol, self._http_1 = None, None

    def _protocols(self) -> tuple[ProtocolWrapper, _OneWriteHTTP1 | None]:
        """hypercorn's protocol, which can switch to HTTP/2, and our HTTP/1.1 protocol inside it."""
        socket = self.stream.socket
        ends = [parse_socket_addr(socket.family, address) for address in (socket.getpeername(), socket.getsockname())]
        rest: Any = (ConnectionState(self.state), False, *ends, self.protocol_send)
        wrapper = ProtocolWrapper(self.app, self.config, self.context, self._task_group, *rest)
        # Streams use the task group for `spawn_app` only.
        http_1 = _OneWriteHTTP1(self.app, self.config, self.context, cast("Any", self), *rest)
        wrapper.protocol = http_1
        return wrapper, http_1

    async def _read_data(self) -> None:
        """Serve one request after the other."""
        assert self._http_1 is not None
        while True:
            await self._http_1.take_events()
            if self._call is not None:
                call, self._call = self._call, None
                await call()
            elif self._is_over or self.stream.socket.fileno() < 0:
                return
            else:
                await self._read()

    async def spawn_app(self, app: Any, config: Any, scope: Any, send: Any) -> Callable[[Message], Awaitable[None]]:
        """Store the request for `_read_data` to run."""
        inbox = _Inbox(self._read)
        threads = (trio.to_thread.run_sync, trio.from_thread.run)
        self._call = partial(_handle, app, config, scope, inbox.receive, send, *threads)
        return inbox.put

    async def _read(self) -> None:
        """Wait for bytes from the client. The current stream is told of an end of file."""
        assert self._http_1 is not None
        if self._http_1.is_ahead:
            await trio.sleep_forever()  # like hypercorn: pipelined data is read after the response
        received = await self._receive_some()
        self._http_1.connection.receive_data(received)
        self._is_over = not received
        if self._http_1.stream is not None:
            with contextlib.suppress(trio.BrokenResourceError):  # asked by the app; its stream has been told
                await self._http_1.take_events()
        if self._is_over:
            await self.protocol.handle(Closed())

    async def _receive_some(self) -> bytes:
        """b"" at the end, in whatever way it comes."""
        if self.stream.socket.fileno() < 0:  # trio 0.35 would take the next task that waits for -1 for a second one
            await trio.lowlevel.checkpoint()
            return b""
        try:
            # First, since there is hardly ever anything yet; and less stands in memory than while waiting in `recv`.
            await trio.lowlevel.wait_readable(self.stream.socket)
            await self.context.reading.pass_through()
            received: bytes = await self.stream.socket.recv(MAX_RECV)
        except (OSError, trio.ClosedResourceError):
            return b""
        return received

    async def _serve_http_2(self, switch: Exception) -> None:
        """Hand the connection to hypercorn, starting from the error that requests the switch."""

        async def handle(event: Event) -> None:
            raise switch

        self._http_1, self.protocol.protocol.handle = None, handle
        self.send_lock, self.idle_task = trio.Lock(), TrioSingleTask()
        with contextlib.suppress(OSError):
            async with self._task_group:
                await self.idle_task.restart(self._task_group, self._idle_timeout)
                await self.protocol.handle(RawData(b""))
                await TCPServer._read_data(self)

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, Updated) and self._http_1 is not None:
            self._set_idle(event.idle)
        else:
            await super().protocol_send(event)

    def _set_idle(self, is_idle: bool) -> None:
        """An idle connection is closed after the keep-alive time, or when the worker stops."""
        if not is_idle:
            self.context.idle.discard(self.stream)
        elif self.context.terminated.is_set():
            self.stream.socket.close()
        else:
            self.context.idle.add(self.stream)


_NO_LOCK = contextlib.nullcontext()
"""A single task sends, so no lock is needed."""

_UNUSED_EVENT = EventWrapper()
"""Shared by all connections: hypercorn's HTTP/1.1 sets it to wake a reader task, which does not exist here."""


class _OneWriteHTTP1(HardenedH11):
    """HTTP/1.1 that sends the head of a response together with the first piece of its body."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.connection = _Parser(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)
        self.can_read = _UNUSED_EVENT
        self._head = b""

    @property
    def is_ahead(self) -> bool:
        """Whether the client has sent more than the current request."""
        return isinstance(self.connection, _Parser) and self.connection.is_paused

    async def take_events(self) -> None:
        """Handle what has been received."""
        await self._handle_events()

    async def _send_h11_event(self, event: Any) -> None:
        try:
            content = self._head + self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return
        is_head = isinstance(event, h11.Response)
        self._head = content if is_head else b""
        if content and not is_head:
            await self.send(RawData(content))


class _Parser(h11.Connection):
    """Reports a pause as a need for more data."""

    is_paused = False

    def next_event(self) -> Any:
        event = super().next_event()
        self.is_paused = event is h11.PAUSED
        return h11.NEED_DATA if self.is_paused else event


class _Inbox:
    """Messages that the app has not received yet. Reads from the connection when empty."""

    __slots__ = ("_messages", "_read")

    def __init__(self, read: Callable[[], Awaitable[None]]) -> None:
        self._read = read
        self._messages: list[Message] = []

    async def put(self, message: Message) -> None:
        self._messages.append(message)
        if len(self._messages) % MESSAGES_AT_ONCE == 0:
            await trio.lowlevel.cancel_shielded_checkpoint()  # cancelled, the rest of what was read would be forgotten

    async def receive(self) -> Any:
        while not self._messages:
            await self._read()
        if self._messages[0]["type"].endswith(".disconnect"):
            return self._messages[0]  # repeated for every further call
        return self._messages.pop(0)
