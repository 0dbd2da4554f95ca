"""Sends calls that are not batchable to the upstream, and streams their responses back.

Secrets are masked in headers, in refusals and in JSON. Anything else is streamed as it comes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import Any

import openai

from ..redaction import Redactor, redactor_for

# The HTTP library set these for the outer request; the upstream client sets its own.
_HOP_HEADERS = frozenset({"host", "connection"})
_OF_THE_WIRE = frozenset({"content-encoding", "content-length", "transfer-encoding"})


async def pass_through(http: Any, upstream: Any, request: Any, other_secrets: tuple[str, ...] = ()) -> Any:
    """Send a request through another client, of httpx or httpx2, and return its response.

    Args:
        other_secrets: masked like the credentials of the request.
    """
    outgoing = _outgoing(upstream, request, _chunks(request.stream))
    incoming = await upstream.send(outgoing, stream=True)
    redactor = redactor_for(outgoing.headers, outgoing.url.params.multi_items(), other_secrets)
    if _is_streamed(incoming):
        return _relayed(http, incoming, _relayed_stream(http)(incoming), redactor)
    try:
        return _whole(http, incoming, await incoming.aread(), redactor)
    finally:
        await incoming.aclose()


def pass_through_sync(http: Any, upstream: Any, request: Any) -> Any:
    """The same for sync clients."""
    outgoing = _outgoing(upstream, request, iter(request.stream))
    incoming = upstream.send(outgoing, stream=True)
    redactor = redactor_for(outgoing.headers, outgoing.url.params.multi_items())
    if _is_streamed(incoming):
        return _relayed(http, incoming, _relayed_sync_stream(http)(incoming), redactor)
    try:
        return _whole(http, incoming, incoming.read(), redactor)
    finally:
        incoming.close()


def _outgoing(upstream: Any, request: Any, content: Any) -> Any:
    headers = [(name, value) for name, value in request.headers.multi_items() if name not in _HOP_HEADERS]
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    options = {"headers": headers, "content": content if has_body else None, **_timeout(request)}
    return upstream.build_request(request.method, str(request.url), **options)


def _relayed(http: Any, incoming: Any, stream: Any, redactor: Redactor) -> Any:
    return http.Response(
        incoming.status_code, headers=_headers(incoming, redactor), stream=stream, extensions=_version(incoming)
    )


def _is_streamed(incoming: Any) -> bool:
    """Whether it is content: a file, or a stream of events."""
    kind = incoming.headers.get("content-type", "").partition(";")[0].strip().lower()
    return incoming.is_success and not kind.endswith("json")


def _whole(http: Any, incoming: Any, content: bytes, redactor: Redactor) -> Any:
    """A response that was read and decoded."""
    redact = redactor.redact_answer if incoming.is_success else redactor.redact
    headers = [(name, value) for name, value in _headers(incoming, redactor) if name.lower() not in _OF_THE_WIRE]
    return http.Response(incoming.status_code, headers=headers, content=redact(content), extensions=_version(incoming))


def _headers(incoming: Any, redactor: Redactor) -> list[tuple[str, str]]:
    return [(name, redactor.redact_text(value)) for name, value in incoming.headers.multi_items()]


def _version(incoming: Any) -> dict[str, Any]:
    return {"http_version": incoming.extensions.get("http_version", b"HTTP/1.1")}


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
