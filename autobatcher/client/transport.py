"""An HTTP transport in whose hands a batchable POST becomes a line of a batch: HTTP request in, HTTP response out.

What is not batchable passes through to the upstream as it is. One transport serves the clients of httpx and of httpx2
(openai 2.x uses the one, 3.x the other): a request is answered in the library it came in.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Any

import anyio
import httpx
from anyio.abc import TaskStatus

from ..engine.batcher import Batcher
from ..engine.hosting import AT_END_SECONDS, Host
from ..engine.settings import Settings
from ..errors import BatchError
from ..upstream.account import Account
from ..upstream.batch_api import BatchAPI
from ..upstream.providers import ProviderProfile, profile_for
from .batchable import base_url_of, batchable_endpoint
from .batched_call import batched
from .call import CALL_IDS, SDK_MAX_RETRIES, Call, is_ignored_header
from .http_parts import HttpParts, error_parts
from .pass_through import pass_through
from .sdk import CALL_EXTENSION, check_http_client, checked_profile, with_own_wishes


class TransportToBatches(httpx.AsyncBaseTransport):
    """Batchable calls go to the engine of `host`, everything else through `upstream`.

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

    def _with_own_wishes(self, call: Call, request: Any) -> Call:
        return with_own_wishes(call, request, ignore_timeouts=self._ignore_timeouts)

    async def _batched(self, call: Call, endpoint: str, request: Any) -> HttpParts:
        content_type = request.headers.get("content-type", "")
        return await batched(self._host, call, endpoint, content_type, await request.aread())

    def _call_of(self, request: Any) -> Call:
        call: Call = request.extensions.get(CALL_EXTENSION) or self.default_call
        return call


class BatchTransport(TransportToBatches):
    """A transport for any `httpx.AsyncClient`, so that other SDKs of the same wire format batch, too.

        client = AsyncGroq(http_client=httpx.AsyncClient(transport=BatchTransport()))

    Where a batch goes and who pays for it is read off each request: the base URL is what stands before the endpoint,
    credentials and query are the request's own, and so are all other headers but those that SDKs, HTTP libraries and
    tracers always send, and ids of calls. Requests that differ in these share no batch. What only a batch can meet is
    told as an HTTP error that the SDK is asked not to retry. The HTTP client's own timeout, meant for servers that
    answer at once, does not limit the wait. An `httpx2.AsyncClient` takes this transport as well.

    A proxy or a certificate belongs to our own `http_client`: an outer client with `proxy=` or `mounts=` goes past its
    transport.

    The engine runs in a background task from the first call until the HTTP client, or the transport, is closed; or in
    a nursery of yours: `await nursery.start(transport.run)`.

    Args:
        http_client: talks to the upstream; an `httpx.AsyncClient` of the usual kind by default. Closed with this.
        provider: a profile, or the name of one; None chooses by each request's host.
        max_retries: how many more batches a line may travel in after one that failed it in passing.
        max_wait_seconds: how long a call waits before it is answered with a 504; None for as long as it takes.
        **settings: `batch_size`, `batch_window_seconds`, ..., as for `BatchOpenAI`.

    Raises:
        TypeError, ValueError: naming the parameter, at construction.

    Cancelled: as for `BatchOpenAI`.
    """

    def __init__(
        self,
        *,
        http_client: Any = None,
        provider: str | ProviderProfile | None = None,
        max_retries: int = SDK_MAX_RETRIES,
        max_wait_seconds: float | None = None,
        **settings: Any,
    ) -> None:
        if isinstance(max_retries, bool) or not isinstance(max_retries, int) or max_retries < 0:
            raise ValueError(f"max_retries must be a whole number of at least 0, not {max_retries!r}")
        if max_wait_seconds is not None and not max_wait_seconds > 0:
            raise ValueError(f"max_wait_seconds must be a positive number of seconds or None, not {max_wait_seconds!r}")
        if http_client is not None:
            check_http_client(http_client, httpx.AsyncClient)
        self._profile = checked_profile(provider)
        self._max_retries = max_retries
        self._max_wait_seconds = max_wait_seconds
        upstream = http_client or httpx.AsyncClient(timeout=UPSTREAM_SECONDS)
        super().__init__(make_host(Settings(**settings), upstream), upstream)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:  # noqa: ASYNC128  (passed on to the one that calls started())
        """Run the engine in a nursery of your own: `await nursery.start(transport.run)`."""
        await self._host.run(task_status=task_status)

    async def aclose(self) -> None:
        """Stop the engine and wait for its goodbye; see `BatchOpenAI.close`."""
        await close_host(self._host, self._upstream)

    def _with_own_wishes(self, call: Call, request: Any) -> Call:
        return call

    async def handle_async_request(self, request: Any) -> Any:
        """The response, which for a batched call may take hours. Raises what `http_client` does."""
        try:
            return await super().handle_async_request(request)
        except BatchError as error:  # other SDKs know nothing of it, and would send the call again
            return library_of(request).Response(**error_parts(error))

    def _call_of(self, request: Any) -> Call:
        url = str(request.url.copy_with(query=None, fragment=None))
        base_url = base_url_of(url, request.url.path)
        kept = {
            name: value
            for name, value in request.headers.items()
            if not is_ignored_header(name) and name not in CALL_IDS
        }
        account = Account(
            base_url=base_url,
            provider=self._profile or profile_for(base_url),
            headers=tuple(kept.items()),
            query=tuple(request.url.params.multi_items()),
        )
        return Call(account, wait_seconds=self._max_wait_seconds, max_retries=self._max_retries)


UPSTREAM_SECONDS = 600.0
"""The SDK's default, for calls that pass through. The engine's own calls have limits of their own."""


def make_host(settings: Settings, upstream: Any) -> Host:
    """An engine that talks to the upstream through that client, and closes it when it was told to stop."""
    api = BatchAPI(upstream)
    return Host(lambda: Batcher(settings, api), upstream.aclose)


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
    base = _parsed(base_url)
    origin = (request.url.scheme, request.url.host, request.url.port)
    is_elsewhere = origin != (base.scheme, base.host, base.port)
    return batchable_endpoint(request.method, request.url.path, base.path, is_elsewhere=is_elsewhere)


def response_of(http: Any, parts: HttpParts, seconds: float) -> Any:
    """The response of these parts, which took so long. (The SDK's raw responses have `elapsed`.)"""
    response = http.Response(**parts)
    response.elapsed = timedelta(seconds=seconds)
    return response


@lru_cache(maxsize=256)
def _parsed(base_url: str) -> httpx.URL:
    """By a class like that of requests, so that it does not matter what is percent-encoded."""
    return httpx.URL(base_url)


@contextmanager
def request_in_errors(request: Any) -> Iterator[None]:
    """`openai.APIError` promises a `request`; the engine that makes our errors has none."""
    try:
        yield
    except BatchError as error:
        error.request = request
        raise
