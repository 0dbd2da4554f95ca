"""A transport from an HTTP client to an emulator in the same process: no socket, no thread.

httpx and httpx2 (used by openai 3.x) do not accept each other's transports, so the class is made for either.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import anyio.lowlevel

from .wire import ConnectionLostError, Reply, Request, close_body

Handle = Callable[[Request], Awaitable[Reply]]
"""`Emulator.handle`."""

LIBRARIES = ("httpx", "httpx2")


def make_transport(handle: Handle, library: str) -> Any:
    """An `AsyncBaseTransport` of `library`. Raises `ImportError` if that library is not installed."""
    return _classes(library)(handle)


def make_client(handle: Handle, library: str) -> Any:
    """An `AsyncClient` of `library` on that transport, without a timeout."""
    module = importlib.import_module(library)
    return module.AsyncClient(transport=make_transport(handle, library), timeout=None)


@cache
def _classes(library: str) -> Any:
    if library not in LIBRARIES:
        raise ValueError(f"library must be one of {', '.join(LIBRARIES)}: {library!r}")
    module: Any = importlib.import_module(library)

    class EmulatorStream(module.AsyncByteStream):  # type: ignore[misc]
        """A streamed body. Read a second time, as the SDK does after [DONE], it is empty."""

        def __init__(self, chunks: AsyncIterator[bytes], request: Any) -> None:
            self._chunks = chunks
            self._request = request

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            await anyio.lowlevel.checkpoint()
            try:
                return await anext(self._chunks)
            except ConnectionLostError as lost:
                raise module.ReadError(str(lost), request=self._request) from lost

        async def aclose(self) -> None:
            await close_body(self._chunks)

    class EmulatorTransport(module.AsyncBaseTransport):  # type: ignore[misc]
        def __init__(self, handle: Handle) -> None:
            self._handle = handle

        async def handle_async_request(self, request: Any) -> Any:
            await anyio.lowlevel.checkpoint()
            try:
                reply = await self._handle(await _translate(request))
            except ConnectionLostError as lost:
                kind = module.ReadError if lost.connected else module.ConnectError
                raise kind(str(lost), request=request) from lost
            return self._respond(reply, request)

        def _respond(self, reply: Reply, request: Any) -> Any:
            headers = dict(reply.headers)
            if isinstance(reply.body, bytes):
                return module.Response(reply.status, headers=headers, content=reply.body)
            return module.Response(reply.status, headers=headers, stream=EmulatorStream(reply.body, request))

    return EmulatorTransport


async def _translate(request: Any) -> Request:
    return Request(
        method=request.method,
        path=request.url.path,
        query=dict(parse_qsl(request.url.query.decode("ascii"), keep_blank_values=True)),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await request.aread(),
    )
