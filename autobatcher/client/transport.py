"""An HTTP transport that batches batchable POST requests and passes all others through to the upstream.

It serves clients of httpx (openai 2.x) and of httpx2 (openai 3.x): each response is of the library of its request.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Self

import anyio

from ..engine.batcher import Batcher
from ..engine.hosting import AT_END_SECONDS, Host
from ..engine.settings import Settings
from ..engine.spending import Spending
from ..engine.tracer import Tracer
from ..errors import BatchError
from ..tracing.choice import tracer_of
from ..upstream.batch_api import BatchAPI
from .batchable import batchable_endpoint
from .batched_call import batched
from .call import Call
from .connections import Connections
from .header_kinds import HeaderKinds
from .http_parts import HttpParts, library_of
from .pass_through import pass_through
from .progress import show_progress
from .sdk import CALL_EXTENSION, with_request_options


class TransportToBatches:
    """Gives batchable calls to the engine of `host` and sends all others through `connections`.

    It derives from no library's transport: importing the library that the SDK does not use would add a quarter to the
    import time.

    Args:
        connections: the client of either library that talks to the upstream; not closed by the transport.
        kinds: the sets of headers with which calls of the engine wait.
        ignore_timeouts: whether a request's timeout does not limit its wait.

    Attributes:
        default_call: for requests without the extension, made with the HTTP client itself.
    """

    default_call: Call

    def __init__(
        self, host: Host, connections: Connections, kinds: HeaderKinds, *, ignore_timeouts: bool = False
    ) -> None:
        self._host = host
        self._kinds = kinds
        self._connections = connections
        self._ignore_timeouts = ignore_timeouts

    async def handle_async_request(self, request: Any) -> Any:
        """Return the response; for a batched call this may take hours.

        Raises `BatchError`, or what the upstream's client raises.
        """
        http = library_of(request)
        with request_in_errors(request):
            call = self._call_of(request)
            endpoint = self._endpoint_of(call, request)
            if endpoint is not None:
                begun = anyio.current_time()
                call = self._with_request_options(call, request)
                parts = await self._batched(call, endpoint, request)
                return response_of(http, parts, anyio.current_time() - begun)
            await self._connections.enter()
        return await pass_through(http, self._connections.client, request, call.secrets)

    async def aclose(self) -> None:
        """Do nothing: the transport has no connections."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        if kind is not None:
            self._host.keep_for_rerun(batches=False)
        await self.aclose()

    def _with_request_options(self, call: Call, request: Any) -> Call:
        return with_request_options(call, request, self._kinds, ignore_timeouts=self._ignore_timeouts)

    def _endpoint_of(self, call: Call, request: Any) -> str | None:
        return endpoint_of(request, call.account.base_url)

    async def _batched(self, call: Call, endpoint: str, request: Any) -> HttpParts:
        content_type = request.headers.get("content-type", "")
        return await batched(self._host, call, endpoint, content_type, await request.aread())

    def _call_of(self, request: Any) -> Call:
        call: Call = request.extensions.get(CALL_EXTENSION) or self.default_call
        return call


def make_host(settings: Settings, connections: Connections, spending: Spending) -> Host:
    """Make an engine's host that talks to the upstream through that client, and closes it after its shutdown."""
    api = BatchAPI(connections.client)
    host = Host(partial(_make_batcher, settings, api, spending=spending), connections, spending)
    return show_progress(host, settings.progress)


def _make_batcher(settings: Settings, api: BatchAPI, *, tracer: Tracer | None = None, **options: Any) -> Batcher:
    return Batcher(settings, api, tracer=tracer or tracer_of(settings.tracing), **options)


async def close_host(host: Host, connections: Connections) -> None:
    """Stop the engine, wait for its shutdown, close the connections.

    Cancelled: the engine finishes all this in the background.
    """
    await host.close()
    if not host.is_running:
        with anyio.move_on_after(AT_END_SECONDS, shield=True):
            await connections.aclose()


def endpoint_of(request: Any, base_url: str) -> str | None:
    """The endpoint of a batchable call; None for one that passes through. See `batchable_endpoint`."""
    base = type(request.url)(base_url)  # parsed by the same class, so that percent-encoding is equal
    origin = (request.url.scheme, request.url.host, request.url.port)
    is_elsewhere = origin != (base.scheme, base.host, base.port)
    return batchable_endpoint(request.method, request.url.path, base.path, is_elsewhere=is_elsewhere)


def response_of(http: Any, parts: HttpParts, seconds: float) -> Any:
    """Make a response. The SDK's raw responses have `elapsed`, so it is set to `seconds`."""
    response = http.Response(**parts)
    response.elapsed = timedelta(seconds=seconds)
    return response


@contextmanager
def request_in_errors(request: Any) -> Iterator[None]:
    """Set `request`, which `openai.APIError` promises, on our errors."""
    try:
        yield
    except BatchError as error:
        error.request = request
        raise
