"""`BatchOpenAI`: `openai.AsyncOpenAI` whose batchable calls become lines of upstream batches.

The SDK builds requests and parses responses. The transport of its HTTP client gives batchable calls to the engine and
sends all others to the upstream. So every surface of the SDK works. The most frequent calls skip most of the SDK's
code: see `fast_path`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import anyio
import openai
from anyio import AsyncContextManagerMixin
from anyio.abc import TaskStatus

from ..engine.request import Answer, Request
from ..engine.settings import Settings
from ..errors import ClientClosedError
from ..upstream.providers import ProviderProfile
from .arguments import ClientArguments, takes
from .batchable import batch_request
from .block import owning_block, shared_block
from .call import ANSWERED
from .checked_body import checked_body
from .connections import connections_of
from .costs import Costs
from .deadlines import DEADLINE_HEADER, deadline_of_call, warn_without_flex, without_deadline
from .estimate import EstimatesCalls
from .mapping import ManyCalls
from .sdk import (
    CALL_EXTENSION,
    AnyAsyncClient,
    CopiesShareTheEngine,
    check_base_url,
    check_client,
    check_http_client,
    checked_profile,
    refuse_other_credentials,
    unbatched_options,
    with_key,
)
from .sdk_internals import AsyncRequestHook
from .server_calls import ServerCalls
from .shared_engine import AsyncEngine


class _Elsewhere(ServerCalls, Costs, EstimatesCalls, ManyCalls, CopiesShareTheEngine, AsyncRequestHook):
    """The methods that are in other files."""


class BatchOpenAI(_Elsewhere, AsyncContextManagerMixin, openai.AsyncOpenAI):  # type: ignore[misc]  # __aexit__ may swallow
    """`AsyncOpenAI` at batch prices: concurrent calls are gathered into batches; each caller gets its own answer.

    There are three ways to run the engine. Prefer the first one:

        async with BatchOpenAI() as client: ...           # in this block
        await nursery.start(client.run)                   # in the caller's own nursery
        client = BatchOpenAI(); ...; await client.close() # in a background task, as a drop-in

    Args:
        api_key: falls back to `OPENAI_API_KEY`. An async function gives a fresh key for each upstream call.
        base_url: the upstream; falls back to `OPENAI_BASE_URL`, then to OpenAI's.
        provider: whose rules batches follow: a profile, the name of one (`doubleword`, `openai`, `azure`, `groq`, ...),
            or a TOML or JSON file with one; None chooses by the base URL's host.
        ignore_timeouts: a `timeout` of the client or of a call does not limit the wait for a batch: for frameworks that
            pass one each time.
        batch_size: submit a batch when this many requests of a kind are queued.
        batch_window_seconds: submit a batch this long after the first request of its window.
        poll_interval_seconds: how often a batch is polled.
        completion_window: how long the provider may take: a duration such as "24h" or "1h", as far as the provider
            sells it, or "background" at Doubleword, which is spare capacity, without a promise when.
        deadline: by when each answer is needed, counted from its call: seconds, or a duration such as "45m"; None for
            no deadline. See docs/deadlines.md.
        lanes: what may be used to get an answer, the cheapest first, of "batch", "flex" and "realtime"; None for the
            batch lane, and with a deadline the flex lane.
        on_overrun: if it cannot be known in time whether a line was executed: miss the deadline, or send it again, and
            perhaps pay twice.
        on_missed: what a call does when its deadline has passed: raise `DeadlineMissedError`, or wait for its batch.
        lane_concurrency: how many calls are made at once on the flex and real-time lanes.
        batch_metadata: attached to every batch and every event; at most 16 pairs, keys of 64 and values of 512
            characters.
        batch_event_handler: called with each lifecycle event, as a dict; see `autobatcher.events`.
        progress: show how far the calls are; a function gets each `ProgressSnapshot` instead. See docs/progress.md.
        tracing: tell OpenTelemetry of calls and batches (extra `otel`); None does so if the program has set
            OpenTelemetry up before the first call. See docs/tracing.md.
        cancel_active_batches_on_close: cancel batches upstream that still run when the client closes; else they run on,
            and are billed.
        cancel_abandoned_batches: cancel a batch upstream once nobody waits for it any more.
        delete_input_files: delete an input file upstream once its batch has been read; not where that would delete the
            batch, as at Doubleword: there it expires.
        deadline_slack_seconds: how long after its completion window a batch may still be on its way to an end, since
            providers overrun by minutes; then its callers get a `BatchTimeoutError`, and it is cancelled upstream.
        missing_lines: what happens to a request whose line is in neither file of a batch that counts it as done: an
            error, or another batch, as a retry; the line may have been paid for.
        upload_timeout_seconds: how long the upstream may be silent during an upload, plus a second for each MB: it may
            check every line before it answers.
        max_active_batches: how many batches may be under way; further ones wait.
        isolate_accounts: whether the accounts (keys) of one client belong to strangers: then none may hold more of
            `max_active_batches`, `max_queued_bytes`, uploads and polls than it leaves free for the others.
        max_queued_bytes: how many bytes of request bodies may wait to be uploaded; further calls wait until there is
            room, and `serve` answers them with a 503.
        max_answer_bytes: how long a line of a result file may be; the caller of a longer one gets a `BatchEndedError`.
            The largest honest answers are embeddings: 2,048 inputs with 3,072 numbers each are 140 MB.
        max_cost: the most that may be spent, in USD: 20, or "20/day" ("hour", "week", "month"); a call that might cost
            more than is left gets a `BudgetExceededError` at once. See docs/cost.md.
        max_cost_per_account: the same for each account (key) by itself.
        budget: the name under which a journal adds up what is spent: processes with the same journal and budget share
            `max_cost`.
        unknown_prices: what happens to calls whose price is unknown: they count nothing against `max_cost`, or are
            refused.
        prices: prices that come before those of the provider and of genai-prices: a dict, or the path of a TOML file;
            see docs/cost.md.
        journal: the path of a file (SQLite) in which batches, prompts and answers are kept, so that a program that died
            can be run again without paying twice: see docs/journal.md. One engine at a time can use it. Or the URL of a
            PostgreSQL (postgresql://user@host/database), which any number of engines share: see docs/scale.md.
        journal_hash_only: keep no prompts and no answers in the journal; batches are found again all the same.
        journal_patience_seconds: how long requests wait for the database of a journal on PostgreSQL while it cannot be
            reached, before they fail with `JournalUnreachableError`.
        journal_retention_seconds: how long the journal keeps answers that nobody takes: a program that failed on Friday
            is run again on Monday.
        **openai_arguments: everything else that `AsyncOpenAI` takes. `http_client`, an `httpx.AsyncClient` or
            `httpx2.AsyncClient`, talks to the upstream and is closed with this client. `timeout` limits the whole wait
            of a call, in seconds: then the call is withdrawn and raises `BatchTimeoutError`, an
            `openai.APITimeoutError`. Without it a call waits for its batch. `max_retries` is how many more batches a
            request may travel in after a retryable error (408, 409, 429, 5xx, expired).

    Raises:
        TypeError, ValueError: naming the parameter, at construction. Construction does no I/O and needs no event loop.
        JournalError: by `async with`, `run`, or the first call, if the journal cannot be used; `JournalInUseError` if
            another engine uses it.

    Cancelled: a call that is cancelled (asyncio.CancelledError, trio.Cancelled) is withdrawn. If it was still queued,
    it was never sent. If its batch was already uploaded, it may run and be billed. When all callers of a batch are
    gone, the batch is cancelled upstream.
    """

    _engine: AsyncEngine

    @takes(ClientArguments, passes_to=openai.AsyncOpenAI.__init__)
    def __init__(
        self,
        settings: Settings,
        *,
        api_key: str | Callable[[], Awaitable[str]] | None = None,
        base_url: Any = None,
        provider: str | os.PathLike[str] | ProviderProfile | None = None,
        ignore_timeouts: bool = False,
        _engine: AsyncEngine | None = None,
        _upstream: Any = None,
        **openai_arguments: Any,
    ) -> None:
        refuse_other_credentials(openai_arguments)
        check_base_url(base_url)
        self._profile = checked_profile(provider)
        self._is_copy = _engine is not None
        self._is_closed = False
        if _engine is None:
            given = openai_arguments.pop("http_client", None)
            if given is not None:
                check_http_client(given, AnyAsyncClient)
            connections = connections_of(given, openai.DefaultAsyncHttpxClient)
            _engine = AsyncEngine(settings, connections, ignore_timeouts=ignore_timeouts)
            openai_arguments["http_client"] = _engine.http_client
        self._engine = _engine
        self._spending = _engine.spending
        self._upstream: Any = _upstream or _engine.upstream
        if base_url is not None:
            openai_arguments["base_url"] = base_url
        super().__init__(api_key=api_key, **openai_arguments)
        check_client(self)
        self._key = api_key if callable(api_key) else None
        if not self._is_copy:
            _engine.transport.default_call = self._call()
            warn_without_flex(settings, self._call().account.provider)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:  # noqa: ASYNC128  (passed on to the one that calls started())
        """Run the engine in your own nursery: `await nursery.start(client.run)`.

        Returns when the client is closed. After that, or after a cancellation, the client takes no calls.

        Raises:
            RuntimeError: if the engine is already running.
            ClientClosedError: if the client was closed.
            JournalError: if the journal cannot be used.

        Cancelled: callers get a `ClientClosedError`; active batches are treated as by `close`.
        """
        await self._engine.host.run(task_status=task_status)

    async def answer(self, endpoint: str, body: bytes) -> Answer:
        """Batch one JSON body and return the answer as bytes.

        Args:
            endpoint: such as "/v1/embeddings".
            body: a JSON object that names a model.

        Returns:
            The answer of any HTTP status; see `Answer.status_code`.

        Raises:
            UnbatchableRequestError: at once, if `body` is no JSON object, names no model, or asks for a stream.
            BatchError: if the batch gave no answer to this request.

        Cancelled: the request is withdrawn, as described at the class.
        """
        digested = await checked_body(endpoint, body)
        return await self._engine.host.submit(self._request(endpoint, body, digested))

    def _request(
        self,
        endpoint: str,
        body: bytes,
        digested: bytes | None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Request:
        call = self._call()
        account = call.account if api_key is None else with_key(call.account, api_key)
        headers = headers or {}
        account = self._engine.kinds.account_with(account, without_deadline(headers))
        return batch_request(
            account,
            endpoint,
            body,
            digested=digested,
            max_retries=call.max_retries,
            deadline=deadline_of_call(headers.get(DEADLINE_HEADER, call.deadline_header)),
        )

    @property
    def unbatched(self) -> openai.AsyncOpenAI:
        """An ordinary `AsyncOpenAI` with the same options: answers at once, at full price.

        It uses this client's connections, which its own `close` leaves open.
        """
        return _Unbatched(**unbatched_options(self), http_client=self._upstream)

    async def close(self) -> None:
        """Stop the engine, wait for its bounded shutdown, and close the connections. Idempotent.

        Waiting calls get a `ClientClosedError`. Active batches are cancelled upstream if
        `cancel_active_batches_on_close` is set, and left running otherwise. Closing a copy does not stop the engine. To
        a journal this is a successful end; see `keep_for_rerun`.

        Cancelled: the shutdown continues in the background.
        """
        self._is_closed = True
        if not self._is_copy:
            await self._engine.close()

    def keep_for_rerun(self) -> None:
        """Tell the journal that this program will be run again: it is about to fail, or it is a cell of a notebook.

        The journal then keeps all answers for the rerun, and the shutdown leaves batches running, even with
        `cancel_active_batches_on_close`. A block that ends with an exception keeps the answers by itself. Does nothing
        without a journal.
        """
        self._engine.host.keep_for_rerun()

    @property
    def event_hooks(self) -> dict[str, list[Any]]:
        """The event hooks of the HTTP client that talks to the upstream."""
        hooks: dict[str, list[Any]] = self._upstream.event_hooks
        return hooks

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        if self.is_closed():
            raise ClientClosedError("The client is closed: make a new one.")
        host = self._engine.host
        async with shared_block(host, self.close) if host.is_running else owning_block(host, self._close_all):
            yield self

    async def _close_all(self) -> None:
        """Close the engine, also from a copy."""
        self._is_closed = True
        await self._engine.close()

    if not TYPE_CHECKING:
        # Type checkers see the SDK's own signature.

        # The SDK's own resources; only `create` and its like are coroutine functions here.

        @cached_property
        def chat(self):
            from .resources.chat import BatchChat

            return BatchChat(self, BatchOpenAI)

        @cached_property
        def completions(self):
            from .resources.completions import BatchCompletions

            return BatchCompletions(self)

        @cached_property
        def embeddings(self):
            from .resources.embeddings import BatchEmbeddings

            return BatchEmbeddings(self, BatchOpenAI)

        @cached_property
        def images(self):
            from .resources.images import BatchImages

            return BatchImages(self)

        @cached_property
        def responses(self):
            from .resources.responses import BatchResponses

            return BatchResponses(self, BatchOpenAI)

        @cached_property
        def beta(self):
            from .resources.beta import BatchBeta

            return BatchBeta(self)

    def _before_sending(self, request: Any) -> None:
        outcome = ANSWERED.get()
        if outcome is None:
            super()._before_sending(request)
            return
        ANSWERED.set(None)  # applies to this request only; a nested call is a new one
        request.extensions[CALL_EXTENSION] = replace(self._call(), outcome=outcome)


class _Unbatched(openai.AsyncOpenAI):
    """Does not own its connections."""

    async def close(self) -> None:
        """Do nothing; see `BatchOpenAI.unbatched`."""
