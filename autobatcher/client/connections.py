"""The HTTP client that talks to the upstream, used in one event loop after another and in forked processes.

A connection belongs to the event loop and to the process that opened it, but HTTP clients pool connections for as long
as they live. A default client gets a pool for each event loop of each process. The pool of a user's `http_client` is
emptied when its event loop ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

from ..engine.event_loop import backend_of, is_alive, running_loop, runs
from ..errors import WrongEventLoopError
from ..upstream.direct import send_directly
from .http_parts import library_of
from .sdk_internals import library_transports, send_directly_sync


class DefaultConnections:
    """The connections of a default HTTP client.

    Args:
        make_client: makes an `AsyncClient`; takes `transport=` and `verify=`.

    Attributes:
        client: the HTTP client, for any event loop and process.
    """

    def __init__(self, make_client: Callable[..., Any]) -> None:
        self._transport = _TransportPerLoop(make_client)
        self.client: Any = make_client(transport=self._transport)

    def check(self) -> None:
        """Do nothing: there is a pool for this process."""

    async def enter(self) -> None:
        """Do nothing: there is a pool for this event loop."""

    async def leave(self) -> None:
        """Close the connections of the running event loop. The client stays usable."""
        await self._transport.aclose()

    async def aclose(self) -> None:
        """Close the client and the connections of the running event loop."""
        await self.client.aclose()


class _TransportPerLoop:
    """Sends each request through a client of the running event loop."""

    def __init__(self, make_client: Callable[..., Any]) -> None:
        self._make_client = make_client
        self._clients: dict[tuple[int, object], Any] = {}
        self._certificates: Any = None  # loading them takes longer than all the rest of a client

    async def handle_async_request(self, request: Any) -> Any:
        here = (os.getpid(), running_loop())
        client = self._clients.get(here)
        if client is None:
            self._forget_ended_loops()
            self._certificates = self._certificates or library_of(request).create_ssl_context()
            client = self._clients[here] = self._make_client(verify=self._certificates)
        return await send_directly(client, request)

    async def aclose(self) -> None:
        client = self._clients.pop((os.getpid(), running_loop()), None)
        if client is not None:
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _forget_ended_loops(self) -> None:
        """Drop clients whose connections nobody can close. Those of a parent process are kept: it still uses them."""
        for pid, loop in tuple(self._clients):
            if pid == os.getpid() and not is_alive(loop):
                del self._clients[pid, loop]


class GivenConnections:
    """The connections of a user's `http_client`.

    They are closed at the end of an event loop if the client has the HTTP library's own transports. Other transports
    are the user's responsibility.

    Args:
        client: an `httpx.AsyncClient` or `httpx2.AsyncClient`.
    """

    def __init__(self, client: Any) -> None:
        self.client: Any = client
        self._loop: object = None  # in which there may be connections
        self._pid: int | None = None
        self._backend: str | None = None  # of the first event loop: pools of httpx are bound to it

    def check(self) -> None:
        """Raise `WrongEventLoopError` where a pool of the HTTP library cannot be used.

        That is in a forked process whose parent may have open connections, and in an event loop of another backend.
        """
        if not any(library_transports(self.client)):
            return
        if self._pid not in (None, os.getpid()):
            raise WrongEventLoopError(
                "This process was forked while the client had open connections, which the two cannot share. Make a "
                "client with its own http_client in this process, or fork before the first call."
            )
        backend = backend_of(running_loop())
        if self._backend not in (None, backend):
            raise WrongEventLoopError(
                f"This client's http_client was used on {self._backend} and cannot be used on {backend}. Make one for "
                "each, or leave http_client out."
            )

    async def enter(self) -> None:
        """Drop the connections of an event loop that has ended. Raises what `check` raises."""
        self.check()
        await self._drop_of_ended_loop()
        here = running_loop()
        self._loop, self._pid, self._backend = here, os.getpid(), backend_of(here)

    async def leave(self) -> None:
        """Close the connections of the running event loop. The client stays usable."""
        if self._loop is running_loop():
            self._loop = self._pid = None
            await self._drop()

    async def aclose(self) -> None:
        """Close the client; not in a forked process, whose parent uses the connections."""
        if self._pid in (None, os.getpid()):
            await self._drop_of_ended_loop()
            await self.client.aclose()

    async def _drop_of_ended_loop(self) -> None:
        if self._loop is not None and not runs(self._loop):
            await self._drop()

    async def _drop(self) -> None:
        for transport in library_transports(self.client):
            with suppress(Exception):  # a pool forgets its connections first, then closing those of a dead loop fails
                await transport.aclose()


class DefaultSyncConnections:
    """The connections of a default sync HTTP client: a pool for each process.

    Args:
        make_client: makes a `Client`; takes `transport=`.
    """

    def __init__(self, make_client: Callable[..., Any]) -> None:
        self._make_client = make_client
        self._clients: dict[int, Any] = {}  # those of a parent process are kept: it still uses them
        self.client: Any = make_client(transport=self)

    def enter(self) -> None:
        """Do nothing: there is a pool for this process."""

    def handle_request(self, request: Any) -> Any:
        here = os.getpid()
        if here not in self._clients:
            self._clients[here] = self._make_client()
        return send_directly_sync(self._clients[here], request)

    def close(self) -> None:
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class GivenSyncConnections:
    """The connections of a user's sync `http_client`, dropped in a forked process.

    Args:
        client: an `httpx.Client` or `httpx2.Client`.
    """

    def __init__(self, client: Any) -> None:
        self.client: Any = client
        self._pid = os.getpid()

    def enter(self) -> None:
        """Drop the connections of a parent process. Closing a copied socket leaves the parent's connection open."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            for transport in library_transports(self.client):
                with suppress(Exception):
                    transport.close()


Connections = DefaultConnections | GivenConnections
SyncConnections = DefaultSyncConnections | GivenSyncConnections


def connections_of(http_client: Any, make_default: Callable[..., Any]) -> Connections:
    """The connections of a user's `http_client`, or of a default one if that is None."""
    return DefaultConnections(make_default) if http_client is None else GivenConnections(http_client)


def sync_connections_of(http_client: Any, make_default: Callable[..., Any]) -> SyncConnections:
    """The same for a sync client."""
    return DefaultSyncConnections(make_default) if http_client is None else GivenSyncConnections(http_client)
