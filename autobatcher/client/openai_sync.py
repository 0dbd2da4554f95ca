"""`BatchOpenAISync`: `openai.OpenAI` whose batchable calls become lines of upstream batches; for threads and notebooks.

One engine in its own thread serves all threads that use a client or its copies.
"""

from __future__ import annotations

import inspect
import os
import time
import weakref
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import openai
from anyio import to_thread

from ..engine.hosting import Host
from ..engine.request import Answer
from ..engine.settings import Settings
from ..engine.spending import Spending
from ..engine.statistics import BatcherStatistics
from ..upstream.providers import ProviderProfile
from .arguments import SharedArguments, keywords, takes
from .batchable import batch_request
from .batched_call import batched
from .call import Call
from .connections import GivenSyncConnections, SyncConnections, connections_of, sync_connections_of
from .costs import Costs
from .deadlines import deadline_of_call, warn_without_flex
from .engine_thread import EngineThread, dropped
from .estimate import EstimatesCallsSync
from .header_kinds import HeaderKinds
from .http_parts import HttpParts, library_of
from .mapping_sync import ManyCallsSync
from .pass_through import pass_through_sync
from .sdk import (
    CALL_EXTENSION,
    AnyClient,
    CopiesShareTheEngine,
    check_base_url,
    check_client,
    check_http_client,
    checked_profile,
    refuse_other_credentials,
    unbatched_options,
    with_request_options,
)
from .sdk_internals import RequestHook
from .threaded_client import threaded_client
from .transport import endpoint_of, make_host, request_in_errors, response_of

_CLOCK = time.monotonic
"""The clock of the engine's event loop, which asyncio runs in a thread of its own."""


@keywords
class _Arguments(SharedArguments):
    api_key: str | Callable[[], str] | None = None


class BatchOpenAISync(Costs, EstimatesCallsSync, ManyCallsSync, CopiesShareTheEngine, RequestHook, openai.OpenAI):
    """`OpenAI` at batch prices: calls of many threads are gathered into batches; each thread gets its own answer.

        with ThreadPoolExecutor(100) as threads, BatchOpenAISync() as client:
            answers = list(threads.map(lambda text: client.responses.create(model=..., input=text), texts))

    (In this order Ctrl-C closes the client before the pool waits for its threads.)

    A call blocks its thread until its batch has the answer. So a batch of n calls needs n threads; `BatchOpenAI` needs
    none. Thread-safe.

    Without `with` or `close()` the engine shuts down when the program exits.

    Args:
        http_client: talks to the upstream, also for the engine; an `httpx.Client` or `httpx2.Client`. Closed with this
            client.
        Everything else as for `BatchOpenAI`; `api_key` may be a plain function.

    Raises:
        TypeError, ValueError: naming the parameter, at construction. Construction does no I/O and starts no thread.

    Interrupted: a call in which Ctrl-C raises `KeyboardInterrupt` is withdrawn, like a cancelled call of `BatchOpenAI`.
    """

    _engine: _Engine

    @takes(_Arguments, passes_to=openai.OpenAI.__init__)
    def __init__(
        self,
        settings: Settings,
        *,
        api_key: str | Callable[[], str] | None = None,
        base_url: Any = None,
        provider: str | os.PathLike[str] | ProviderProfile | None = None,
        ignore_timeouts: bool = False,
        _engine: _Engine | None = None,
        _upstream: Any = None,
        **openai_arguments: Any,
    ) -> None:
        refuse_other_credentials(openai_arguments)
        check_base_url(base_url)
        if inspect.iscoroutinefunction(api_key):
            raise TypeError("api_key must be a key or a plain function here; BatchOpenAI takes async functions")
        self._profile = checked_profile(provider)
        self._is_copy = _engine is not None
        self._is_closed = False
        if _engine is None:
            upstream = openai_arguments.pop("http_client", None)
            if upstream is not None:
                check_http_client(upstream, AnyClient)
            _engine = _Engine(settings, upstream, ignore_timeouts=ignore_timeouts)
            openai_arguments["http_client"] = _engine.http_client
        self._engine = _engine
        self._spending = _engine.spending
        self._upstream: Any = _upstream or _engine.upstream
        if base_url is not None:
            openai_arguments["base_url"] = base_url
        super().__init__(api_key=api_key, **openai_arguments)
        check_client(self)
        self._plain_key = api_key if callable(api_key) else None
        self._key = self._engine.async_key(api_key) if callable(api_key) else None
        if not self._is_copy:
            _engine.transport.default_call = self._call()
            warn_without_flex(settings, self._call().account.provider)

    def answer(self, endpoint: str, body: bytes) -> Answer:
        """Batch one JSON body and return the answer as bytes; see `BatchOpenAI.answer`."""
        call = self._call()
        deadline = deadline_of_call(call.deadline_header, clock=_CLOCK)
        request = batch_request(call.account, endpoint, body, max_retries=call.max_retries, deadline=deadline)
        self._engine.connections.enter()
        return self._engine.thread.call(lambda host: host.submit(request))

    @property
    def unbatched(self) -> openai.OpenAI:
        """An ordinary `OpenAI` with the same options: answers at once, at full price.

        It uses this client's connections, which its own `close` leaves open.
        """
        return _Unbatched(**unbatched_options(self), http_client=self._upstream)

    def close(self) -> None:
        """Stop the engine, wait for its bounded shutdown, and close the connections. Idempotent.

        Waiting threads get a `ClientClosedError`. Closing a copy does not stop the engine.
        """
        self._is_closed = True
        if not self._is_copy:
            self._engine.close()

    def __exit__(self, exc_type: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if exc_type is not None:
            self._engine.thread.note_failure(error)
            self._engine.thread.keep_for_rerun(batches=False)
        self.close()

    def keep_for_rerun(self) -> None:
        """See `BatchOpenAI.keep_for_rerun`."""
        self._engine.thread.keep_for_rerun(batches=True)

    def batch_statistics(self) -> BatcherStatistics | None:
        """Count queued and waiting requests and list active batches; None before the first call.

        Raises:
            ClientClosedError: after `close`.
        """
        if self._engine.thread.host is None:
            return None

        async def in_the_thread(host: Host) -> BatcherStatistics | None:
            return None if host.batcher is None else host.batcher.statistics()

        return self._engine.thread.call(in_the_thread)

    if not TYPE_CHECKING:

        @cached_property
        def responses(self):
            """The SDK's resource without WebSockets, which would bypass batches."""
            from .resources.responses import BatchResponsesSync

            return BatchResponsesSync(self)

        @cached_property
        def beta(self):
            """The SDK's resource without WebSockets."""
            from .resources.beta import BatchBetaSync

            return BatchBetaSync(self)

    @property
    def _own_key(self) -> Any:
        return self._plain_key


class _Unbatched(openai.OpenAI):
    """Does not own its connections."""

    def close(self) -> None:
        """Do nothing; see `BatchOpenAISync.unbatched`."""


class _Engine:
    """Shared by a client and its copies: the engine's thread and the SDK's HTTP client."""

    def __init__(self, settings: Settings, upstream: Any, *, ignore_timeouts: bool) -> None:
        self.settings: Settings = settings
        self._ignore_timeouts = ignore_timeouts
        self.spending = spending = Spending(settings)
        self.connections: SyncConnections = sync_connections_of(upstream, openai.DefaultHttpxClient)
        self.upstream: Any = self.connections.client

        def engine_host() -> Host:
            client = None if upstream is None else threaded_client(upstream)
            return make_host(settings, connections_of(client, openai.DefaultAsyncHttpxClient), spending)

        self._kinds = HeaderKinds()
        self.thread: EngineThread = EngineThread(engine_host, self.upstream.close)
        self.transport: Any = self._transport(self.connections)
        self.http_client: Any = _sdk_client(self.transport)
        weakref.finalize(self, dropped, self.thread).atexit = False

    def through(self, upstream: Any) -> Any:
        """Make another HTTP client for the SDK, which sends what is not batchable through `upstream`."""
        transport: Any = self._transport(GivenSyncConnections(upstream))
        transport.default_call = self.transport.default_call
        return _sdk_client(transport)

    def async_key(self, key: Callable[[], str]) -> Any:
        """Wrap the user's key function for the engine, which calls it in a worker thread."""

        async def ask() -> str:
            return await to_thread.run_sync(key)

        ask.__wrapped__ = key  # type: ignore[attr-defined]  # the journal identifies the account by its name
        return ask

    def close(self) -> None:
        self.thread.close()
        self.http_client.close()

    def _transport(self, connections: SyncConnections) -> _SyncTransport:
        return _SyncTransport(self.thread, connections, self._kinds, ignore_timeouts=self._ignore_timeouts)


def _sdk_client(transport: Any) -> Any:
    return openai.DefaultHttpxClient(transport=transport)


class _SyncTransport:
    """Gives batchable calls to the engine in its thread and sends all others through `connections`."""

    default_call: Call  # for requests without the extension, made with the HTTP client itself

    def __init__(
        self, thread: EngineThread, connections: SyncConnections, kinds: HeaderKinds, *, ignore_timeouts: bool
    ) -> None:
        self._thread = thread
        self._kinds = kinds
        self._connections = connections
        self._ignore_timeouts = ignore_timeouts

    def close(self) -> None:
        """Do nothing: the transport has no connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def handle_request(self, request: Any) -> Any:
        http = library_of(request)
        self._connections.enter()
        call: Call = request.extensions.get(CALL_EXTENSION) or self.default_call
        with request_in_errors(request):
            endpoint = endpoint_of(request, call.account.base_url)
            if endpoint is not None:
                begun = time.monotonic()
                call = with_request_options(
                    call, request, self._kinds, ignore_timeouts=self._ignore_timeouts, clock=_CLOCK
                )
                return response_of(http, self._batched(call, endpoint, request), time.monotonic() - begun)
        return pass_through_sync(http, self._connections.client, request)

    def _batched(self, call: Call, endpoint: str, request: Any) -> HttpParts:
        content_type, body = request.headers.get("content-type", ""), request.read()

        async def in_the_thread(host: Host) -> HttpParts:
            return await batched(host, call, endpoint, content_type, body)

        return self._thread.call(in_the_thread)
