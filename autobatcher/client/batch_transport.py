"""`BatchTransport`: for SDKs of the same wire format that are not OpenAI's."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import anyio
import httpx
from anyio.abc import TaskStatus

from ..engine.settings import Settings
from ..engine.spending import Spending
from ..errors import BatchError, UnbatchableRequestError
from ..redaction import has_user
from ..upstream.account import Account
from ..upstream.providers import ProviderProfile, profile_for
from .arguments import keywords, takes
from .azure import check_deployment, without_deployment
from .batchable import base_url_of
from .call import CREDENTIAL_HEADERS, SDK_MAX_RETRIES, Call, is_ignored_header
from .connections import connections_of
from .costs import Costs
from .deadlines import DEADLINE_HEADER, deadline_of_call, warn_without_flex
from .header_kinds import HeaderKinds
from .http_parts import HttpParts, error_parts, library_of
from .sdk import check_http_client, checked_profile
from .transport import TransportToBatches, close_host, endpoint_of, make_host


@keywords
class _Arguments(Settings):
    http_client: Any = None
    provider: str | os.PathLike[str] | ProviderProfile | None = None
    max_retries: int = SDK_MAX_RETRIES
    max_wait_seconds: float | None = None


class BatchTransport(Costs, TransportToBatches, httpx.AsyncBaseTransport):
    """A transport for any `httpx.AsyncClient`, so that other SDKs of the same wire format batch, too.

        client = AsyncGroq(http_client=httpx.AsyncClient(transport=BatchTransport()))

    The base URL, credentials, query and headers of a batch are those of its requests. The base URL is the part of the
    URL before the endpoint. Headers that SDKs, HTTP libraries or tracers always send, and ids of calls, are ignored.
    Requests that differ in anything else never share a batch.

    Calls of `AsyncAzureOpenAI` to a deployment are batched at its resource, where Azure has files and batches.

    Failures of a batch become HTTP errors with `x-should-retry: false`. The timeout of the outer client is ignored. An
    `httpx2.AsyncClient` takes this transport, too.

    Configure proxies and certificates on `http_client`: an outer client with `proxy=` or `mounts=` bypasses its
    transport.

    The engine runs in a background task from the first call until the transport or the outer client is closed. To run
    it in your own nursery: `await nursery.start(transport.run)`.

    Args:
        http_client: talks to the upstream; an `httpx.AsyncClient` by default. Closed with the transport.
        provider: a profile, or the name of one; None chooses by each request's host.
        max_retries: how many more batches a request may travel in after a retryable error.
        max_wait_seconds: answer a call with a 504 after this long; None waits for its batch.
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
        self._profile = checked_profile(provider)
        if self._profile is not None:
            warn_without_flex(settings, self._profile)
        self._max_retries = max_retries
        self._max_wait_seconds = max_wait_seconds
        if http_client is not None:
            check_http_client(http_client, httpx.AsyncClient)
        connections = connections_of(http_client, partial(httpx.AsyncClient, timeout=UPSTREAM_SECONDS))
        self._spending = Spending(settings)
        super().__init__(make_host(settings, connections, self._spending), connections, HeaderKinds())

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:  # noqa: ASYNC128  (passed on to the one that calls started())
        """Run the engine in your own nursery; see `BatchOpenAI.run`."""
        await self._host.run(task_status=task_status)

    def flush(self) -> None:
        """Close the open windows now; see `BatchOpenAI.flush`."""
        self._host.flush()

    async def aclose(self) -> None:
        """Stop the engine and wait for its shutdown; see `BatchOpenAI.close`."""
        await close_host(self._host, self._connections)

    def _with_request_options(self, call: Call, request: Any) -> Call:
        return call

    async def handle_async_request(self, request: Any) -> Any:
        """Return the response; for a batched call this may take hours. Raises what `http_client` raises.

        Cancelled: the call is withdrawn, as for `BatchOpenAI`.
        """
        try:
            return await super().handle_async_request(request)
        except BatchError as error:  # other SDKs do not know this class and would retry the call
            return library_of(request).Response(**error_parts(error))

    def _endpoint_of(self, call: Call, request: Any) -> str | None:
        return endpoint_of(request, _base_url_of(request))

    async def _batched(self, call: Call, endpoint: str, request: Any) -> HttpParts:
        check_deployment(request.url.path, await request.aread())
        return await super()._batched(call, endpoint, request)

    def _call_of(self, request: Any) -> Call:
        if has_user(str(request.url)):
            raise UnbatchableRequestError(
                "base_url must have no user and password: they replaced the key. Leave them out. If the server wants "
                'them, give the client the header "Authorization: Basic ...".'
            )
        base_url = without_deployment(_base_url_of(request))
        kept = {name: value for name, value in request.headers.items() if not is_ignored_header(name)}
        credentials = {name: kept.pop(name) for name in CREDENTIAL_HEADERS if name in kept}
        account = Account(
            base_url=base_url,
            provider=self._profile or profile_for(base_url),
            headers=tuple(credentials.items()),
            query=tuple(request.url.params.multi_items()),
        )
        deadline = deadline_of_call(kept.pop(DEADLINE_HEADER, None))
        account = self._kinds.account_with(account, kept)
        return Call(account, wait_seconds=self._max_wait_seconds, max_retries=self._max_retries, deadline=deadline)


def _base_url_of(request: Any) -> str:
    return base_url_of(str(request.url.copy_with(query=None, fragment=None)), request.url.path)


UPSTREAM_SECONDS = 600.0
"""The SDK's default timeout, for calls that pass through. The engine's own calls have their own limits."""
