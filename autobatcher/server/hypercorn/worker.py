"""A trio worker made of hypercorn's parts.

hypercorn's own `serve` does not accept another connection class.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.typing import ConnectionState, LifespanState

from .connection import EndingContext
from .listener import BoundedListener
from .plain_connection import PlainConnection

BACKLOG = 4096
"""Connections that may wait to be accepted. hypercorn's 100 are too few for five thousand clients at once."""

KEEP_ALIVE_SECONDS = 75.0
"""Longer than the keep-alive time of pooled clients (httpx: 5 s, nginx: 60 s), so that none of them sends into a
connection that we are closing."""

GRACEFUL_SECONDS = 5.0
"""Time for connections to finish once waiting requests have been answered; idle ones are closed at once."""

TELL_SECONDS = 1.0
"""For setting hypercorn's event, which never waits; only the interface is asynchronous."""

KEEP_ALIVE_PROBES = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""A peer that vanished silently is noticed within two minutes; the kernel's default is two hours."""

MAX_H2_STREAMS = 500
"""Maximum number of requests waiting on one HTTP/2 connection; hypercorn's priority tree raises at 1,000."""


def make_config(*, log_level: str = "WARNING") -> Config:
    """hypercorn's configuration for requests that wait for hours."""
    config = Config()
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.keep_alive_max_requests = 10**9
    config.h2_max_concurrent_streams = MAX_H2_STREAMS
    config.graceful_timeout = GRACEFUL_SECONDS
    config.read_timeout = None  # it would end the silent wait for a batch
    config.accesslog = None
    config.loglevel = log_level
    return config


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on `host`; port 0 takes a free one. Raises OSError if that cannot be done."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    # hypercorn does not notice silent peers that are gone. The kernel does; accepted sockets inherit this option.
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
    context: EndingContext | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` until `stop` returns, then finish open connections within `config.graceful_timeout`.

    Args:
        context: of its connections; None for one that bounds nothing.
    """
    wrapped = _as_hypercorn_calls(app)
    state: LifespanState = {}
    lifespan = Lifespan(wrapped, config, state)
    context = context or EndingContext(config.keep_alive_timeout)
    async with trio.open_nursery() as lifespan_nursery:
        await lifespan_nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        lifespan_nursery.start_soon(context.idle.run)
        lifespan_nursery.start_soon(context.reading.run)
        async with trio.open_nursery() as connections:
            serve_connection = partial(PlainConnection, wrapped, config, context, ConnectionState(state.copy()))
            listeners = [BoundedListener(each, context) for each in sockets]
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


def _as_hypercorn_calls(app: Any) -> Any:
    """An app that takes two arguments more. A request that waits for hours costs no frame more."""
    return lambda scope, receive, send, *threads: app(scope, receive, send)
