"""The emulator: one object that takes HTTP requests and returns HTTP replies, without a socket.

    Emulator.handle(Request) -> Reply
        routes.py          the operation of a request; faults.py: what goes wrong with it
        operations.py      on files.py and batches.py: /files, /batches
        realtime.py        calls in real time; answers/: the answers; ledger.py, bill.py: who was billed

`transport.py` connects an httpx client to it, `app.py` a web server; `forward.py` puts a real model behind it;
`webhook.py` tells others that a batch has ended.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Literal, overload

import anyio

from .answers import Answer, Metering, answer
from .api_key import check_key
from .batch import Surroundings
from .batches import Batches
from .bill import Bill
from .clock import Clock
from .durations import Duration
from .faults import FaultPlan, FaultsAtWork, HttpFault
from .files import Files
from .known_dialects import DIALECTS, Like
from .ledger import Billed
from .misbehaviour import misbehave
from .models import list_models
from .operations import Operations
from .prices import PriceList
from .realtime import RealtimeCalls, TieredRequest
from .routes import BILL_PATH, Route, find_route
from .settings import BatchDuration, Settings
from .statistics import Statistics, billed_lines, count_billed, view_batch, view_lines
from .store import Store
from .tiers import asked_tier, given_tier
from .wire import ConnectionLostError, CutBody, RefusedError, Reply, Request, json_reply

if TYPE_CHECKING:
    import httpx
    from anyio.abc import TaskStatus

    from .forward import Forwarder
    from .webhook import Webhook

MAX_STORED_BYTES = 2_000_000_000


class Emulator:
    """A Batch API server in memory.

    Unless it forwards, nothing runs in the background: the state of a batch is computed when a request asks for it.

    Args:
        like: "openai", "doubleword", "zhipu", ...: what it accepts, how it words its answers and ends its batches.
        batch_seconds: how long a batch is worked on: a number, a `LogNormal` or a `Recorded` (drawn once for each
            batch), or a mapping of those by completion window. Line i of n is ready after that * (i + 1) / n.
        validating_seconds: how long a batch is validated.
        finalizing_seconds: how long it stays in "finalizing".
        cancelling_seconds: how long it stays in "cancelling": a duration as above; None for as long as the provider's
            documents say that it may take.
        finished_while_cancelling: the chance of each unfinished line to be executed and billed meanwhile.
        realtime_seconds: how long a real-time call takes: a duration. It is billed from its start.
        flex_seconds: the same for calls on the flex tier.
        cached_share: the share of the input tokens of chat completions and responses that comes from a cache.
        cache_write_share: the share of the others that is written into it.
        reasoning_tokens: how many tokens are thought for each of their answers, and billed as output; less if the
            request limits its output.
        prices: what tokens cost, for `bill()`; None for prices that are made up.
        api_key: if given, a request with another bearer token gets a 401.
        faults: the faults to apply.
        forward_to: the URL (ending in /v1) of a server with OpenAI's real-time API, which answers instead of
            the emulator itself; needs `run()`.
        forward_key: the bearer key for that server.
        forward_concurrency: how many lines that server gets at a time.
        forward_transport: an httpx transport; None for the network.
        webhook: where it is sent when a batch has ended; needs `run()`.
        max_bytes: maximum size of the temporary directory; the oldest files are evicted first.
        max_requests: maximum number of lines in an input file; None for the provider's limit.
        max_file_bytes: maximum size of an input file; None as above.
        max_embedding_inputs: maximum number of texts in a batch of embeddings (not Doubleword); None as above.
        max_enqueued_requests: maximum number of lines in all running batches. A further batch fails with
            token_limit_exceeded, or (Doubleword) is refused with a 429. None for no limit.
        max_batches_per_hour: further creations are refused with a 429. None for no limit.
        completion_windows: those allowed; () allows any; None means those of the provider.
        clock: a monotonic clock in seconds; by default the event loop's time.
        wall_clock: Unix time, for timestamps.
        seed: the same seed gives the same ids and the same order of results.
        shuffle: shuffle the results instead of keeping the order of the input file.
    """

    def __init__(
        self,
        *,
        like: Like = "openai",
        batch_seconds: BatchDuration = 0.0,
        validating_seconds: float = 0.0,
        finalizing_seconds: float = 0.0,
        cancelling_seconds: Duration | None = 0.0,
        finished_while_cancelling: float = 0.0,
        realtime_seconds: Duration = 0.0,
        flex_seconds: Duration = 0.0,
        cached_share: float = 0.0,
        cache_write_share: float = 0.0,
        reasoning_tokens: int = 0,
        prices: PriceList | None = None,
        api_key: str | None = None,
        faults: FaultPlan | None = None,
        forward_to: str | None = None,
        forward_key: str | None = None,
        forward_concurrency: int = 8,
        forward_transport: httpx.AsyncBaseTransport | None = None,
        webhook: Webhook | None = None,
        max_bytes: int = MAX_STORED_BYTES,
        max_requests: int | None = None,
        max_file_bytes: int | None = None,
        max_embedding_inputs: int | None = None,
        max_enqueued_requests: int | None = None,
        max_batches_per_hour: int | None = None,
        completion_windows: tuple[str, ...] | None = None,
        clock: Callable[[], float] = anyio.current_time,
        wall_clock: Callable[[], float] = time.time,
        seed: int = 0,
        shuffle: bool = True,
    ) -> None:
        if like not in DIALECTS:
            raise ValueError(f"like must be one of {', '.join(DIALECTS)}: {like!r}")
        self._dialect = dialect = DIALECTS[like]
        self._settings = Settings(
            batch_seconds=batch_seconds,
            validating_seconds=validating_seconds,
            finalizing_seconds=finalizing_seconds,
            cancelling_seconds=dialect.cancelling_seconds if cancelling_seconds is None else cancelling_seconds,
            finished_while_cancelling=finished_while_cancelling,
            realtime_seconds=realtime_seconds,
            flex_seconds=flex_seconds,
            metering=Metering(cached_share, reasoning_tokens, cache_write_share),
            prices=prices or PriceList(),
            api_key=api_key,
            max_requests=dialect.max_requests if max_requests is None else max_requests,
            max_file_bytes=dialect.max_file_bytes if max_file_bytes is None else max_file_bytes,
            max_embedding_inputs=(
                dialect.max_embedding_inputs if max_embedding_inputs is None else max_embedding_inputs
            ),
            max_enqueued_requests=max_enqueued_requests,
            max_batches_per_hour=max_batches_per_hour,
            completion_windows=dialect.completion_windows if completion_windows is None else completion_windows,
            seed=seed,
            shuffle=shuffle,
        )
        self._clock = Clock(clock, wall_clock)
        self._store = Store(max_bytes)
        self._faults = FaultsAtWork(faults or FaultPlan())
        random = Random(seed)  # noqa: S311 - ids, not secrets
        self._files = Files(self._settings, self._dialect, self._store, random, self._clock.wall)
        around = Surroundings(
            settings=self._settings,
            dialect=self._dialect,
            store=self._store,
            answer=self._answer_line,
            wall=self._clock.wall,
        )
        self._batches = Batches(around, self._files, self._faults, random)
        self._operations = Operations(self._dialect, self._files, self._batches)
        self._realtime = RealtimeCalls(self._settings, self._clock)
        self._webhook = webhook
        self._forwarder: Forwarder | None = None
        if forward_to is not None:
            self._forward(forward_to, forward_key, forward_concurrency, forward_transport)
        self._requests = 0
        self._http_calls: Counter[str] = Counter()
        self._http_statuses: Counter[int] = Counter()
        self._lost_connections = 0

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Forwards calls and sends webhooks, until cancelled. Returns at once if there is neither."""
        async with anyio.create_task_group() as nursery:
            if self._webhook is not None:
                await nursery.start(self._webhook.run, self._batches, self._clock.now)
            if self._forwarder is not None:
                await nursery.start(self._forwarder.run)
            task_status.started()

    def _forward(self, url: str, key: str | None, concurrency: int, transport: httpx.AsyncBaseTransport | None) -> None:
        from .forward import ForwardedBatch, Forwarder

        self._realtime.forwarder = self._forwarder = Forwarder(url, key, concurrency, transport, self._clock.now)
        self._batches.batch_class = ForwardedBatch
        self._batches.on_created = self._forwarder.add

    # One request

    async def handle(self, request: Request) -> Reply:
        """Answers one request. Raises `ConnectionLostError` if a fault breaks the connection."""
        if (request.method, request.path) == ("GET", BILL_PATH):
            return self._tell_bill(request)
        route = find_route(request)
        self._http_calls[route.operation] += 1
        self._requests += 1
        request_id = f"req_{self._requests:08x}"
        hit = self._faults.for_request(route.operation, request.body, self._clock.now())
        try:
            if hit is None:
                reply = await self._process(route, request)
            else:
                reply = await misbehave(
                    hit, self._dialect, request.path, partial(self._process, route, request, hit.fault)
                )
        except ConnectionLostError:
            self._lost_connections += 1
            raise
        if isinstance(reply.body, CutBody):
            self._lost_connections += 1
        self._http_statuses[reply.status] += 1
        return replace(reply, headers={"x-request-id": request_id, **reply.headers})

    async def _process(self, route: Route, request: Request, fault: HttpFault | None = None) -> Reply:
        try:
            check_key(self._settings.api_key, request)
            return await self._dispatch(route, request, fault)
        except RefusedError as refused:
            return self._dialect.refusal(refused)

    async def _dispatch(self, route: Route, request: Request, fault: HttpFault | None) -> Reply:
        match route.operation:
            case "models":
                return await self._models(route, request)
            case "realtime" | "flex":
                return await self._answer_on_a_tier(route.item_id, request, fault)
            case _:
                return self._operations.perform(route, request, self._clock.now())

    def _tell_bill(self, request: Request) -> Reply:
        try:
            check_key(self._settings.api_key, request)
        except RefusedError as refused:
            return self._dialect.refusal(refused)
        return json_reply(200, self.bill().as_dict())

    async def _models(self, route: Route, request: Request) -> Reply:
        if self._forwarder is None:
            return json_reply(200, list_models(route.item_id))
        return await self._forwarder.call("GET", f"/v1/models/{route.item_id}".rstrip("/"), request)

    async def _answer_on_a_tier(self, endpoint: str, request: Request, fault: HttpFault | None) -> Reply:
        planned = None if fault is None else fault.service_tier
        call = TieredRequest(request, planned or given_tier(self._dialect.flex, endpoint, asked_tier(request.body)))
        if call.tier == "flex":
            return await self._realtime.answer(endpoint, call)
        return await self._answer_now(endpoint, call)

    async def _answer_now(self, endpoint: str, call: TieredRequest) -> Reply:
        """A call at the full price."""
        return await self._realtime.answer(endpoint, call)

    # What it needs

    def _answer_line(self, url: str, body: bytes, created: int) -> Answer:
        return answer(self._dialect.openai_endpoint(url), body, created, metering=self._settings.metering)

    @property
    def faults(self) -> FaultPlan:
        """What goes wrong. May be set at any time: the new plan counts requests and batches from then on.

        `LineFault.batches` goes on with the numbers that batches have.
        """
        return self._faults.plan

    @faults.setter
    def faults(self, plan: FaultPlan) -> None:
        self._faults.follow(plan)

    # Looking at it

    def statistics(self) -> Statistics:
        """A snapshot of what has happened so far."""
        self._batches.advance(self._clock.now())
        batches = self._batches.all.values()
        lines = tuple(line for batch in batches for line in view_lines(batch))
        return Statistics(
            realtime_calls=dict(self._realtime.answered["realtime"]),
            flex_calls=dict(self._realtime.answered["flex"]),
            most_calls_at_once=dict(self._realtime.most_at_once),
            http_calls=dict(self._http_calls),
            http_statuses=dict(self._http_statuses),
            lost_connections=self._lost_connections,
            uploads=self._files.uploads,
            batches_created=len(batches),
            batches=tuple(view_batch(batch) for batch in batches),
            running_batch_ids=self._batches.running_ids,
            file_ids=self._files.ids,
            input_file_ids=self._files.input_ids,
            lines=lines,
            billed=count_billed(lines),
        )

    def ledger(self) -> tuple[Billed, ...]:
        """Every execution that was billed, on all lanes, by its time: of the last 256 MB of request bodies.

        It has lines that were finished during a cancellation, and executions whose answers were lost.
        """
        self._batches.advance(self._clock.now())
        lines = billed_lines(self._batches.all.values(), self._dialect.openai_endpoint)
        return tuple(sorted([*lines, *self._realtime.ledger.calls], key=lambda billed: billed.at))

    def bill(self) -> Bill:
        """What was billed from the beginning on, in tokens and dollars: exact, and apart from what a client counts."""
        self._batches.advance(self._clock.now())
        charges = [*(batch.outcomes.charges for batch in self._batches.all.values()), self._realtime.charges]
        return Bill(tuple(entry for each in charges for entry in each.bill().entries))

    # Doors

    @overload
    def transport(self, library: Literal["httpx"] = "httpx") -> httpx.AsyncBaseTransport: ...
    @overload
    def transport(self, library: str) -> Any: ...
    def transport(self, library: str = "httpx") -> Any:
        """An in-memory transport of `library`, "httpx" or "httpx2"."""
        from .transport import make_transport

        return make_transport(self.handle, library)

    @overload
    def http_client(self, library: Literal["httpx"] = "httpx") -> httpx.AsyncClient: ...
    @overload
    def http_client(self, library: str) -> Any: ...
    def http_client(self, library: str = "httpx") -> Any:
        """An AsyncClient of `library` on that transport, without a timeout."""
        from .transport import make_client

        return make_client(self.handle, library)

    def close(self) -> None:
        """Removes all files and the temporary directory. Closing twice is harmless."""
        self._store.close()

    def __enter__(self) -> Emulator:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
