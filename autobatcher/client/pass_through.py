"""Sends calls that are not batchable to the upstream, and streams their responses back.

Redirects are the SDK's to follow, as ever. But one that leads to another origin is told without its location, so that
it is an error: neither the prompts nor the headers go there. Downloads go to another https host, without any header of
ours. Secrets are masked in headers, in refusals and in JSON. Anything else is streamed as it
comes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import cache
from typing import Any

import openai

from ..redaction import Redactor, redactor_for
from ..upstream.decompression import ACCEPTED, Decoder, EncodingError
from ..upstream.redirects import is_redirect, leads_elsewhere
from .deadlines import DEADLINE_HEADER

# The HTTP library set these for the outer request; the upstream client sets its own. The last one is for us alone.
_HOP_HEADERS = frozenset({"host", "connection", "accept-encoding", DEADLINE_HEADER})

MAX_BODY_BYTES = 100_000_000
"""For an answer in JSON that is passed through, decompressed: a response with images has tens of MB."""

_OF_THE_WIRE: frozenset[str] = frozenset({"content-encoding", "content-length", "transfer-encoding"})


async def pass_through(http: Any, upstream: Any, request: Any, other_secrets: tuple[str, ...] = ()) -> Any:
    """Send a request through another client, of httpx or httpx2, and return its response.

    Args:
        other_secrets: masked like the credentials of the request.
    """
    outgoing = _outgoing(upstream, request, _chunks(request.stream))
    incoming = await upstream.send(outgoing, stream=True, follow_redirects=False)
    redactor = redactor_for(outgoing.headers, outgoing.url.params.multi_items(), other_secrets)
    if _is_streamed(incoming):
        return _relayed(http, incoming, _relayed_stream(http)(incoming), redactor)
    try:
        return _whole(http, request, incoming, await _read(http, incoming), redactor)
    finally:
        await incoming.aclose()


def pass_through_sync(http: Any, upstream: Any, request: Any) -> Any:
    """The same for sync clients."""
    outgoing = _outgoing(upstream, request, iter(request.stream))
    incoming = upstream.send(outgoing, stream=True, follow_redirects=False)
    redactor = redactor_for(outgoing.headers, outgoing.url.params.multi_items())
    if _is_streamed(incoming):
        return _relayed(http, incoming, _relayed_sync_stream(http)(incoming), redactor)
    try:
        return _whole(http, request, incoming, _read_sync(http, incoming), redactor)
    finally:
        incoming.close()


def _outgoing(upstream: Any, request: Any, content: Any) -> Any:
    has_left = _has_left_its_origin(request)
    headers = [
        (name, value)
        for name, value in request.headers.multi_items()
        if name not in _HOP_HEADERS and (name == "accept" or not has_left)
    ]
    headers.append(("accept-encoding", ACCEPTED))
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    options = {"headers": headers, "content": content if has_body else None, **_timeout(request)}
    return upstream.build_request(request.method, str(request.url), **options)


def _relayed(http: Any, incoming: Any, stream: Any, redactor: Redactor) -> Any:
    return http.Response(
        incoming.status_code, headers=_headers(incoming, redactor), stream=stream, extensions=_version(incoming)
    )


_ORIGIN, _DOWNLOAD = "autobatcher.origin", "autobatcher.download"


def _has_left_its_origin(request: Any) -> bool:
    """Whether a redirect led the call to another origin. HTTP libraries keep the extensions of a redirected request."""
    here = (request.url.scheme, request.url.host, request.url.port)
    begun: tuple[str, str, int | None] = request.extensions.setdefault(_ORIGIN, here)
    is_upgrade = (begun[0], here[0]) == ("http", "https") and begun[1:] == here[1:] == (here[1], None)
    return here != begun and not is_upgrade


def _is_download(request: Any) -> bool:
    """Whether the call began as one for the content of a file."""
    begun: bool = request.extensions.setdefault(_DOWNLOAD, request.url.path.endswith("/content"))
    return begun and request.method == "GET"


def _is_streamed(incoming: Any) -> bool:
    """Whether it is content: a file, or a stream of events."""
    kind = incoming.headers.get("content-type", "").partition(";")[0].strip().lower()
    return incoming.is_success and not kind.endswith("json")


async def _read(http: Any, incoming: Any) -> bytes:
    """The whole body, decoded. Raises the library's `ReadError` if it is larger than `MAX_BODY_BYTES`."""
    if incoming.is_stream_consumed:  # by the transport, or by an event hook
        content: bytes = incoming.content
        return content
    body = _Body(http, incoming)
    async for raw in incoming.aiter_raw():
        body.add(raw)
    return bytes(body.content)


def _read_sync(http: Any, incoming: Any) -> bytes:
    if incoming.is_stream_consumed:
        content: bytes = incoming.content
        return content
    body = _Body(http, incoming)
    for raw in incoming.iter_raw():
        body.add(raw)
    return bytes(body.content)


class _Body:
    """A body that is being read."""

    def __init__(self, http: Any, incoming: Any) -> None:
        self.content = bytearray()
        self._http = http
        self._request = incoming.request
        try:
            self._decoder = Decoder(incoming.headers.get("content-encoding", ""))
        except EncodingError as error:
            raise self._error(str(error)) from error

    def add(self, raw: bytes) -> None:
        try:
            for piece in self._decoder.pieces(raw):
                self.content += piece
                if len(self.content) > MAX_BODY_BYTES:
                    raise self._error(f"with more than {MAX_BODY_BYTES:,} bytes")
        except EncodingError as error:
            raise self._error(str(error)) from error

    def _error(self, how: str) -> Exception:
        error: Exception = self._http.ReadError(f"the upstream answered {how}", request=self._request)
        return error


def _whole(http: Any, request: Any, incoming: Any, content: bytes, redactor: Redactor) -> Any:
    """A response that was read and decoded."""
    redact = redactor.redact_answer if incoming.is_success else redactor.redact
    left_out = _OF_THE_WIRE
    may_leave = _is_download(request)
    if is_redirect(incoming) and leads_elsewhere(incoming.request.url, incoming, may_leave=may_leave):
        left_out |= {"location"}
    headers = [(name, value) for name, value in _headers(incoming, redactor) if name.lower() not in left_out]
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
