"""An HTTP transport in whose hands a batchable POST becomes a line of a batch: HTTP request in, HTTP response out.

What is not batchable passes through to the upstream as it is. One transport serves the clients of httpx and of httpx2
(openai 2.x uses the one, 3.x the other): a request is answered in the library it came in.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Self

import anyio

from ..engine.batcher import Batcher
from ..engine.hosting import AT_END_SECONDS, Host
from ..engine.settings import Settings
from ..errors import BatchError
from ..upstream.batch_api import BatchAPI
from .batchable import batchable_endpoint
from .batched_call import batched
from .call import Call
from .http_parts import HttpParts
from .pass_through import pass_through
from .sdk import CALL_EXTENSION, with_own_wishes


class TransportToBatches:
    """Batchable calls go to the engine of `host`, everything else through `upstream`.

    What httpx and httpx2 ask of a transport, without being of either: importing the one that the SDK does not use takes
    a quarter of the time that importing the SDK takes.

    Args:
        upstream: a client of either library; owned by whoever made it.
        ignore_timeouts: a request's timeout does not limit its wait.

    Attributes:
        default_call: for requests without the extension: somebody used the HTTP client itself.
    """

    default_call: Call

    def __init__(self, host: Host, upstream: Any, *, ignore_timeouts: bool = False) -> None:
        self._host = host
        self._upstream = upstream
        self._ignore_timeouts = ignore_timeouts

    async def handle_async_request(self, request: Any) -> Any:
        """The response, which for a batched call may take hours. Raises `BatchError`, or what `upstream` raises."""
        http = library_of(request)
        with request_in_errors(request):
            call = self._call_of(request)
            endpoint = endpoint_of(request, call.account.base_url)
            if endpoint is not None:
                begun = anyio.current_time()
                call = self._with_own_wishes(call, request)
                parts = await self._batched(call, endpoint, request)
                return response_of(http, parts, anyio.current_time() - begun)
        return await pass_through(http, self._upstream, request)

    async def aclose(self) -> None:
        """Nothing: there are no connections here."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        if kind is not None:
            self._host.keep_for_rerun(batches=False)
        await self.aclose()

    def _with_own_wishes(self, call: Call, request: Any) -> Call:
        return with_own_wishes(call, request, ignore_timeouts=self._ignore_timeouts)

    async def _batched(self, call: Call, endpoint: str, request: Any) -> HttpParts:
        content_type = request.headers.get("content-type", "")
        return await batched(self._host, call, endpoint, content_type, await request.aread())

    def _call_of(self, request: Any) -> Call:
        call: Call = request.extensions.get(CALL_EXTENSION) or self.default_call
        return call


def make_host(settings: Settings, upstream: Any) -> Host:
    """An engine that talks to the upstream through that client, and closes it when it was told to stop."""
    api = BatchAPI(upstream)
    return Host(partial(Batcher, settings, api), upstream.aclose)


async def close_host(host: Host, upstream: Any) -> None:
    """Stop the engine, wait for its goodbye, close the connections. Cancelled: the engine does the rest itself."""
    await host.close()
    if not host.is_running:
        with anyio.move_on_after(AT_END_SECONDS, shield=True):
            await upstream.aclose()


def library_of(request: Any) -> Any:
    """The module, httpx or httpx2, whose request this is."""
    return sys.modules[type(request).__module__.partition(".")[0]]


def endpoint_of(request: Any, base_url: str) -> str | None:
    """The endpoint of a batchable call; None for one that passes through. See `batchable_endpoint`."""
    base = type(request.url)(base_url)  # by the same class, so that it does not matter what is percent-encoded
    origin = (request.url.scheme, request.url.host, request.url.port)
    is_elsewhere = origin != (base.scheme, base.host, base.port)
    return batchable_endpoint(request.method, request.url.path, base.path, is_elsewhere=is_elsewhere)


def response_of(http: Any, parts: HttpParts, seconds: float) -> Any:
    """The response of these parts, which took so long. (The SDK's raw responses have `elapsed`.)"""
    response = http.Response(**parts)
    response.elapsed = timedelta(seconds=seconds)
    return response


@contextmanager
def request_in_errors(request: Any) -> Iterator[None]:
    """`openai.APIError` promises a `request`; the engine that makes our errors has none."""
    try:
        yield
    except BatchError as error:
        error.request = request
        raise
