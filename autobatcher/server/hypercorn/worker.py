"""hypercorn's trio worker, with connections of ours.

Its own `serve` has no place for another connection class, so this is a worker of ours, made of hypercorn's parts.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.typing import ConnectionState, LifespanState
from hypercorn.utils import wrap_app

from .connection import Connection, EndingContext

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

LEAN_VERSIONS = "0.18."
"""hypercorn's, whose inside `LeanConnection` was made for."""


def connection_for(hypercorn_version: str) -> type[Connection]:
    """With a version that is not known, connections cost more, and do the same."""
    if not hypercorn_version.startswith(LEAN_VERSIONS):
        return Connection
    from .lean_connection import LeanConnection  # which another version may not even have the parts for

    return LeanConnection


CONNECTION = connection_for(version("hypercorn"))


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
    context = EndingContext(config.keep_alive_timeout)
    async with trio.open_nursery() as lifespan_nursery:
        await lifespan_nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        lifespan_nursery.start_soon(context.idle.run)
        lifespan_nursery.start_soon(context.reading.run)
        async with trio.open_nursery() as connections:
            serve_connection = partial(CONNECTION, wrapped, config, context, ConnectionState(state.copy()))
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
                connections.cancel_scope.deadline = trio.current_time() + config.graceful_timeout
                with trio.move_on_after(TELL_SECONDS, shield=True):
                    await context.end_at(connections.cancel_scope.deadline)
        await lifespan.wait_for_shutdown()
        lifespan_nursery.cancel_scope.cancel()
