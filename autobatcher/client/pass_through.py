"""Sends calls that are not batchable to the upstream, and streams their responses back.

Redirects are the SDK's to follow, as ever. But one that leads to another origin is told without its location, so that
it is an error: neither the prompts nor the headers go there. Downloads go to another https host, without any header of
ours. Secrets are masked in headers, in refusals and in JSON. Anything else is streamed as it
comes.
"""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from functools import cache
from typing import Any

import openai

from ..redaction import Redactor, redactor_for
from ..turns import Steps, at_once, in_turns
from ..upstream.bounded_json import is_bounded
from ..upstream.decompression import ACCEPTED, Decoder, EncodingError
from ..upstream.output_line import MAX_ERROR_CHARACTERS
from ..upstream.redirects import is_redirect, leads_elsewhere
from ..upstream.response import MAX_ANSWER_BYTES, MAX_ERROR_BYTES
from .deadlines import DEADLINE_HEADER

# The HTTP library set these for the outer request; the upstream client sets its own. The last one is for us alone.
_HOP_HEADERS = frozenset({"host", "connection", "accept-encoding", DEADLINE_HEADER})

MAX_BODY_BYTES = 100_000_000
"""For an answer in JSON that is passed through, decompressed: a response with images has tens of MB."""

MAX_MODELS_BYTES = MAX_ANSWER_BYTES
"""The same for models and lists of them. The proxy checks them at once."""

_OF_THE_WIRE: frozenset[bytes] = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


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
        return await in_turns(_whole(http, request, incoming, await _read(http, incoming), redactor))
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
        return at_once(_whole(http, request, incoming, _read_sync(http, incoming), redactor))
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
    """The whole body, decoded, or as much of an error's as counts. Raises the library's `ReadError` if it is too
    large."""
    if incoming.is_stream_consumed:  # by the transport, or by an event hook
        content: bytes = incoming.content
        return content
    body = _Body(http, incoming)
    async with aclosing(incoming.aiter_raw()) as raw_chunks:
        async for raw in raw_chunks:
            await in_turns(body.adding(raw))
            if body.is_enough:
                break
    return body.content.getvalue()


def _read_sync(http: Any, incoming: Any) -> bytes:
    if incoming.is_stream_consumed:
        content: bytes = incoming.content
        return content
    body = _Body(http, incoming)
    for raw in incoming.iter_raw():
        at_once(body.adding(raw))
        if body.is_enough:
            break
    return body.content.getvalue()


class _Body:
    """A body that is being read.

    Attributes:
        is_enough: whether it is an error's, and as long as one is read.
    """

    def __init__(self, http: Any, incoming: Any) -> None:
        self.content = io.BytesIO()
        self.is_enough: bool = False
        self._http = http
        self._request = incoming.request
        self._is_error = not incoming.is_success
        self._most_bytes = MAX_ERROR_BYTES if self._is_error else _most_bytes(incoming.request)
        try:
            self._decoder = Decoder(incoming.headers.get("content-encoding", ""))
        except EncodingError as error:
            raise self._error(str(error)) from error

    def adding(self, raw: bytes) -> Steps[None]:
        """Add what arrived, decoded: a few bytes may become many pieces."""
        try:
            for piece in self._decoder.pieces(raw):
                self.content.write(piece)
                if self.content.tell() > self._most_bytes:
                    self.is_enough = self._is_error
                    if self.is_enough:
                        return
                    raise self._error(f"with more than {self._most_bytes:,} bytes")
                yield
        except EncodingError as error:
            raise self._error(str(error)) from error

    def _error(self, how: str) -> Exception:
        error: Exception = self._http.ReadError(f"the upstream answered {how}", request=self._request)
        return error


def _most_bytes(request: Any) -> int:
    is_of_models = request.method == "GET" and _MODELS.search(request.url.path) is not None
    return MAX_MODELS_BYTES if is_of_models else MAX_BODY_BYTES


_MODELS = re.compile("/models(/[^/]*)?/?$")


def _whole(http: Any, request: Any, incoming: Any, content: bytes, redactor: Redactor) -> Steps[Any]:
    """A response that was read and decoded."""
    if incoming.is_success:
        content = yield from redactor.redacting_answer(content)
    else:
        is_small = len(content) <= MAX_ERROR_BYTES and is_bounded(content)
        content = yield from redactor.redacting(content if is_small else content[:MAX_ERROR_CHARACTERS])
    left_out = _OF_THE_WIRE
    may_leave = _is_download(request)
    if is_redirect(incoming) and leads_elsewhere(incoming.request.url, incoming, may_leave=may_leave):
        left_out |= {b"location"}
    headers = [(name, value) for name, value in _headers(incoming, redactor) if name.lower() not in left_out]
    return http.Response(incoming.status_code, headers=headers, content=content, extensions=_version(incoming))


def _headers(incoming: Any, redactor: Redactor) -> list[tuple[bytes, bytes]]:
    """As they came: a library that decoded them would not encode them again if they are not ASCII."""
    return [(name, redactor.redact(value)) for name, value in incoming.headers.raw]


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
