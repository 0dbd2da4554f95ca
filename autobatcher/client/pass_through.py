"""Sends calls that are not batchable to the upstream, and streams their responses back.

Redirects are the SDK's to follow, as ever. It drops the bearer token when one leads to another origin; here the other
credentials are dropped, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import Any

import openai

from .call import CREDENTIAL_HEADERS

# The HTTP library set these for the outer request; the upstream client sets its own.
_HOP_HEADERS = frozenset({"host", "connection"})


async def pass_through(http: Any, upstream: Any, request: Any) -> Any:
    """Send a request through another client, of httpx or httpx2, and return its response."""
    outgoing = _outgoing(upstream, request, _chunks(request.stream))
    incoming = await upstream.send(outgoing, stream=True, follow_redirects=False)
    return _answered(http, incoming, _relayed_stream(http)(incoming))


def pass_through_sync(http: Any, upstream: Any, request: Any) -> Any:
    """The same for sync clients."""
    incoming = upstream.send(_outgoing(upstream, request, iter(request.stream)), stream=True, follow_redirects=False)
    return _answered(http, incoming, _relayed_sync_stream(http)(incoming))


def _outgoing(upstream: Any, request: Any, content: Any) -> Any:
    left_out = _HOP_HEADERS.union(CREDENTIAL_HEADERS) if _has_left_its_origin(request) else _HOP_HEADERS
    headers = [(name, value) for name, value in request.headers.multi_items() if name not in left_out]
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    options = {"headers": headers, "content": content if has_body else None, **_timeout(request)}
    return upstream.build_request(request.method, str(request.url), **options)


def _answered(http: Any, incoming: Any, stream: Any) -> Any:
    return http.Response(
        incoming.status_code,
        headers=incoming.headers.multi_items(),
        stream=stream,
        extensions={"http_version": incoming.extensions.get("http_version", b"HTTP/1.1")},
    )


_ORIGIN = "autobatcher.origin"


def _has_left_its_origin(request: Any) -> bool:
    """Whether a redirect led the call to another origin. HTTP libraries keep the extensions of a redirected request."""
    here = (request.url.scheme, request.url.host, request.url.port)
    begun: tuple[str, str, int | None] = request.extensions.setdefault(_ORIGIN, here)
    is_upgrade = (begun[0], here[0]) == ("http", "https") and begun[1:] == here[1:] == (here[1], None)
    return here != begun and not is_upgrade


_SDK_TIMEOUT = openai.DEFAULT_TIMEOUT.as_dict()


def _timeout(request: Any) -> dict[str, Any]:
    """The caller's timeout; nothing for the SDK's default, so that the timeout of `upstream` applies."""
    timeout = request.extensions.get("timeout", _SDK_TIMEOUT)
    return {} if timeout == _SDK_TIMEOUT else {"extensions": {"timeout": timeout}}


async def _chunks(stream: Any) -> AsyncIterator[bytes]:
    """A request's body as a plain iterator, which both libraries accept."""
    async for chunk in stream:
        yield chunk


@cache
def _relayed_stream(http: Any) -> Any:
    class RelayedStream(http.AsyncByteStream):  # type: ignore[misc]  # the base class is the library's to name
        def __init__(self, incoming: Any) -> None:
            self._incoming = incoming
            self._is_consumed = False

        async def __aiter__(self) -> AsyncIterator[bytes]:
            if not self._is_consumed:  # the SDK drains a stream again after [DONE]
                self._is_consumed = True
                async for chunk in self._incoming.stream:  # still encoded, as the headers say
                    yield chunk

        async def aclose(self) -> None:
            await self._incoming.aclose()

    return RelayedStream


@cache
def _relayed_sync_stream(http: Any) -> Any:
    class RelayedSyncStream(http.SyncByteStream):  # type: ignore[misc]  # the base class is the library's to name
        def __init__(self, incoming: Any) -> None:
            self._incoming = incoming
            self._is_consumed = False

        def __iter__(self) -> Iterator[bytes]:
            if not self._is_consumed:
                self._is_consumed = True
                yield from self._incoming.stream

        def close(self) -> None:
            self._incoming.close()

    return RelayedSyncStream
