"""An async HTTP client that sends through a sync one in worker threads, so that the engine uses the proxies and
certificates of the user's own `http_client`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

from anyio.to_thread import run_sync

from ..upstream.failures import http_library


def threaded_client(client: Any) -> Any:
    """Make an `AsyncClient` of the same library around a `Client`. It does not close the `Client`.

    Cancelled: the call continues in its thread, and its answer is dropped.
    """
    http: Any = http_library(type(client))

    class ThreadedStream(http.AsyncByteStream):  # type: ignore[misc]  # the base class is the library's to name
        def __init__(self, response: Any) -> None:
            self._response = response

        async def __aiter__(self) -> AsyncIterator[bytes]:
            chunks: Iterator[bytes] = iter(self._response.stream)
            while (chunk := await run_sync(next, chunks, None, abandon_on_cancel=True)) is not None:
                yield chunk

        async def aclose(self) -> None:
            await run_sync(self._response.close)

    class ThreadedTransport(http.AsyncBaseTransport):  # type: ignore[misc]  # the base class is the library's to name
        async def handle_async_request(self, request: Any) -> Any:
            response = await run_sync(_send, client, request, abandon_on_cancel=True)
            return http.Response(
                response.status_code,
                headers=response.headers.multi_items(),
                stream=ThreadedStream(response),
                extensions={"http_version": response.extensions.get("http_version", b"HTTP/1.1")},
            )

    return http.AsyncClient(transport=ThreadedTransport(), timeout=client.timeout)


def _send(client: Any, request: Any) -> Any:
    """Send a request of the engine, whose body can be read synchronously, too."""
    headers = request.headers.multi_items()
    with suppress(KeyError):
        headers.remove(("host", request.headers["host"]))
    outgoing = client.build_request(
        request.method,
        str(request.url),
        headers=headers,
        content=iter(request.stream),
        extensions={"timeout": request.extensions.get("timeout", {})},
    )
    return client.send(outgoing, stream=True)
