"""`BatchTransport`: for SDKs of the same wire format that are not OpenAI's."""

from __future__ import annotations

import os
from typing import Any

import anyio
import httpx
from anyio.abc import TaskStatus

from ..engine.settings import Settings
from ..errors import BatchError
from ..upstream.account import Account
from ..upstream.providers import ProviderProfile, profile_for
from .arguments import keywords, takes
from .batchable import base_url_of
from .call import CALL_IDS, SDK_MAX_RETRIES, Call, is_ignored_header
from .http_parts import error_parts
from .sdk import check_http_client, checked_profile
from .transport import TransportToBatches, close_host, library_of, make_host


@keywords
class _Arguments(Settings):
    http_client: Any = None
    provider: str | os.PathLike[str] | ProviderProfile | None = None
    max_retries: int = SDK_MAX_RETRIES
    max_wait_seconds: float | None = None


class BatchTransport(TransportToBatches, httpx.AsyncBaseTransport):
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
        `batch_size`, `batch_window_seconds` and the other settings are as for `BatchOpenAI`.

    Raises:
        TypeError, ValueError: naming the parameter, at construction.

    Cancelled: as for `BatchOpenAI`.
    """

    @takes(_Arguments)
    def __init__(
        self,
        settings: Settings,
        *,
        http_client: Any = None,
        provider: str | os.PathLike[str] | ProviderProfile | None = None,
        max_retries: int = SDK_MAX_RETRIES,
        max_wait_seconds: float | None = None,
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
        super().__init__(make_host(settings, upstream), upstream)

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
