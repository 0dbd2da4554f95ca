"""`BatchTransport`: an HTTP transport in whose hands a batchable POST becomes a line of a batch.

HTTP request in, HTTP response out, for httpx and for httpx2 alike (openai 2.x uses the one, 3.x the other). What is
not batchable passes through to the upstream as it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import openai

from ..engine.hosting import Host
from ..errors import BatchError, BatchSubmissionError, EngineError
from ..upstream.account import Account
from .batchable import batch_request, batchable_endpoint, check_content_type
from .http_parts import HttpParts, answer_parts, error_parts

ACCOUNT_EXTENSION = "autobatcher.account"
"""The request extension in which a client says for whose account a request is."""

# Set by the HTTP library for the outer request; the client that goes upstream makes its own.
_HOP_HEADERS = frozenset({"host", "connection"})


def make_transport(library: ModuleType, host: Host, upstream: Any, *, owns_upstream: bool = True) -> Any:
    """A transport for the clients of `library` (httpx or httpx2).

    Args:
        host: runs the engine that batchable calls go to.
        upstream: the client, of either library, that everything else goes through.
        owns_upstream: whether `upstream` is closed with the transport.
    """
    http: Any = library

    class BatchTransport(http.AsyncBaseTransport):  # type: ignore[misc]  # the base class is the library's to name
        default_account: Account  # of requests that come without the extension: somebody used the HTTP client itself

        async def handle_async_request(self, request: Any) -> Any:
            account = request.extensions.get(ACCOUNT_EXTENSION) or self.default_account
            # Both paths by the same class, so that it does not matter what is percent-encoded.
            base_path = http.URL(account.base_url).path
            with _request_in_errors(request):
                endpoint = batchable_endpoint(request.method, request.url.path, base_path)
                if endpoint is not None:
                    return http.Response(**await _batched(host, account, endpoint, request))
            return await _pass_through(http, upstream, request)

        async def aclose(self) -> None:
            if owns_upstream:
                await upstream.aclose()

    return BatchTransport()


async def _batched(host: Host, account: Account, endpoint: str, request: Any) -> HttpParts:
    """The parts of the response to a batchable call; raises `BatchError`, which the SDK neither wraps nor retries."""
    body = await request.aread()
    try:
        check_content_type(endpoint, request.headers.get("content-type", ""))
        return answer_parts(await host.submit(batch_request(account, endpoint, body)))
    except BatchSubmissionError as error:
        if error.status_code is None:
            raise
        return error_parts(error)
    except openai.OpenAIError:
        raise
    except Exception as error:
        # openai 2.x takes whatever else a transport raises for a broken connection, and sends the call again.
        raise EngineError(f"A defect of autobatcher ({type(error).__name__}); please report it.") from error


@contextmanager
def _request_in_errors(request: Any) -> Iterator[None]:
    """`openai.APIError` promises a `request`; the engine that makes our errors has none."""
    try:
        yield
    except BatchError as error:
        error.request = request
        raise


async def _pass_through(http: Any, upstream: Any, request: Any) -> Any:
    """Send a request upstream through another client, perhaps of the other library, and give its response back."""
    headers = [(name, value) for name, value in request.headers.multi_items() if name not in _HOP_HEADERS]
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    outgoing = upstream.build_request(
        request.method,
        str(request.url),
        headers=headers,
        content=_chunks(request.stream) if has_body else None,
        extensions={"timeout": request.extensions.get("timeout", {})},
    )
    incoming = await upstream.send(outgoing, stream=True)
    return http.Response(
        incoming.status_code,
        headers=incoming.headers.multi_items(),
        stream=_relayed(http, incoming),
        extensions={"http_version": incoming.extensions.get("http_version", b"HTTP/1.1")},
    )


async def _chunks(stream: Any) -> AsyncIterator[bytes]:
    """A request's body, whichever library's stream it is; as a plain iterator, either library takes it."""
    async for chunk in stream:
        yield chunk


def _relayed(http: Any, incoming: Any) -> Any:
    class RelayedStream(http.AsyncByteStream):  # type: ignore[misc]  # the base class is the library's to name
        is_consumed = False

        async def __aiter__(self) -> AsyncIterator[bytes]:
            if not self.is_consumed:  # the SDK drains a stream again after its [DONE]
                self.is_consumed = True
                async for chunk in incoming.stream:  # still encoded, as the headers say
                    yield chunk

        async def aclose(self) -> None:
            await incoming.aclose()

    return RelayedStream()
