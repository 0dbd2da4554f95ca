"""The batchable calls of the proxy: raw ASGI, one task for each waiting client.

A client that disconnected and sends the same request again is reattached to its pending call. Any other request
becomes a new call. The client's task then waits for the answer: see client_wait.py.
"""

from __future__ import annotations

import hashlib
import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import anyio
import trio

from ..client.batchable import check_content_type
from ..client.checked_call import checked_call
from ..client.deadlines import DEADLINE_HEADER
from ..client.header_kinds import forwarded_headers
from ..client.http_parts import HttpParts
from ..client.openai import BatchOpenAI
from ..client.streams import StreamRequest
from ..engine.digest import digest_of, digest_of_parts
from ..engine.request import Request
from ..errors import BatchError
from .background import BackgroundResponses
from .body_limiter import BodyLimiter, HeldBody
from .client_wait import ClientWait, Sent
from .exchange import ClientGoneError, Exchange, RefusedError, no_room
from .heartbeat import HEARTBEAT_SECONDS, heartbeat_seconds, patience
from .heartbeats import Heartbeats
from .keys import bearer_in, bearer_of
from .left_responses import LeftResponses
from .pending_call import Client, PendingCall
from .pending_calls import GRACE_SECONDS, PendingCalls
from .refusals import batch_error_parts, refusal_parts, shutting_down
from .report import Report
from .response_object import is_in_background
from .response_routes import ResponseRoutes
from .retries import Retries, says_retry
from .routes import RESPONSES

logger: logging.Logger = logging.getLogger("autobatcher")

MAX_BODY_BYTES = 64_000_000
BODY_SECONDS = 300.0
"""Time limit for receiving a body: 64 MB at 2 Mbit/s."""


@dataclass(frozen=True, kw_only=True)
class CallLimits:
    """Limits on requests, and how waiting clients are treated.

    Attributes:
        heartbeat_seconds: send a heartbeat to each client at least this often; 0 for none.
        grace_seconds: how long the request of a client that disconnected is kept.
        max_waiting: maximum number of pending requests; further ones get a 503.
        max_background: maximum number of background responses that have not ended; further ones get a 503.
        max_waiting_bytes: maximum size of all bodies that are being received or wait; further requests get a 503.
        max_body_bytes: maximum size of a body.
        body_seconds: maximum time to receive one, in seconds.
    """

    heartbeat_seconds: float = HEARTBEAT_SECONDS
    grace_seconds: float = GRACE_SECONDS
    max_waiting: int = 20_000
    max_background: int = 20_000
    max_waiting_bytes: int = 2_000_000_000
    max_body_bytes: int = MAX_BODY_BYTES
    body_seconds: float = BODY_SECONDS

    @property
    def most_sent_bytes(self) -> int:
        """Maximum size of the calls whose answers were sent and may not have been read."""
        return self.max_waiting_bytes // 20


class BatchedCalls:
    """Answers POST requests to batchable endpoints.

    Args:
        forward_keys: use each caller's own bearer token upstream.
        observers: are shown each request that has an outcome, and how many seconds it waited.
        on_refused: is told the endpoint and the status of each call that the proxy refuses.

    Attributes:
        responses: the routes of those that are made in the background.
        left: goes on with those that no proxy makes any more.
        bodies: bounds the bytes of all bodies.
        heartbeats: tells when they are due. Its `run` must be running.
    """

    def __init__(
        self,
        client: BatchOpenAI,
        pending_calls: PendingCalls,
        report: Report,
        limits: CallLimits,
        *,
        forward_keys: bool,
        observers: Sequence[Callable[[Request, float], None]] = (),
        on_refused: Callable[[str, int], None] = lambda endpoint, status: None,
    ) -> None:
        self._client = client
        self._pending_calls = pending_calls
        self._retries = Retries(pending_calls)
        self.bodies: BodyLimiter = BodyLimiter(
            limits.max_waiting_bytes,
            client.queue_bytes,
            isolates=forward_keys,
            give_way=pending_calls.give_up_delivered,
        )
        self._report = report
        self._tally = report.tally
        most, isolates = limits.max_background, forward_keys
        background = BackgroundResponses(client, report.tally, self._tell, most=most, isolates=isolates)
        self.responses: ResponseRoutes = ResponseRoutes(background, forward_keys=forward_keys)
        self.left: LeftResponses = LeftResponses(client, background, self.bodies, forward_keys=forward_keys)
        self.heartbeats: Heartbeats = Heartbeats()
        self._limits = limits
        self._forward_keys = forward_keys
        self._observers = observers
        self._on_refused = on_refused

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request. If its client disconnects, keep the call for the grace period."""
        held = HeldBody(self.bodies, self._account_of(exchange))
        client = Client(exchange.peer, exchange.wake, has_own_connection=exchange.has_own_connection)
        try:
            asked, digested = await self._asked(exchange.path, exchange, held)
            if exchange.path == RESPONSES and is_in_background(asked.body):
                if self._report.is_draining:
                    raise shutting_down()
                await self.responses.create(asked, exchange, held)
                return
            call = await self._pending_call(exchange.path, asked.body, digested, exchange, client, held)
        except ClientGoneError:
            return
        except RefusedError as refused:
            held.release()  # draining the rest may take a while
            await self._refuse(exchange, refusal_parts(refused))
        except BatchError as error:
            await self._refuse(exchange, self._error_parts(error))
        else:
            await self._serve(call, client, asked, exchange)
        finally:
            if client.call is None or client.call.held is not held:
                held.release()

    async def _refuse(self, exchange: Exchange, parts: HttpParts) -> None:
        self._on_refused(exchange.path, parts["status_code"])
        await exchange.refuse(parts)

    def _account_of(self, exchange: Exchange) -> str:
        """Who pays: the key, however its header is written; one account for all callers of the proxy's own key."""
        return (bearer_in(exchange.headers.get("authorization", "")) or "") if self._forward_keys else ""

    async def _asked(self, endpoint: str, exchange: Exchange, held: HeldBody) -> tuple[StreamRequest, bytes]:
        limits = self._limits
        body = await exchange.read_body(held, most_bytes=limits.max_body_bytes, most_seconds=limits.body_seconds)
        check_content_type(endpoint, exchange.headers.get("content-type", ""))
        asked, digested = await checked_call(endpoint, body)
        return (
            await self.responses.for_upstream(asked, digested, exchange) if endpoint == RESPONSES else (asked, digested)
        )

    async def _pending_call(
        self, endpoint: str, body: bytes, digested: bytes, exchange: Exchange, client: Client, held: HeldBody
    ) -> PendingCall:
        """The call that this client made before it disconnected, or with the same key; or a new one."""
        api_key = bearer_of(exchange.headers.get("authorization", "")) if self._forward_keys else None
        forwarded, caller = exchange.kept(forwarded_headers), exchange.kept(_caller)
        digest = digest_of(endpoint, digested, caller.encode())
        if name := exchange.headers.get("idempotency-key"):
            # In a shared journal, that tells whether another request has the key.
            key = (caller, name, digest.hex()) if self._client.shares_journal else (caller, name)
            call = self._retries.with_key(key, digest, client)
        else:
            key = None
            call = await self._retries.without_key(digest, client, exchange)
        if call is not None:
            held.release()
            self._tally.reattached += 1
            return call
        if self._report.is_draining:
            raise shutting_down()
        account = self._account_of(exchange)
        if not self._pending_calls.has_room(account):
            raise no_room()
        headers = dict(forwarded)
        if DEADLINE_HEADER in exchange.headers:  # no part of the digest: a retry keeps the deadline of its call
            headers[DEADLINE_HEADER] = exchange.headers[DEADLINE_HEADER]
        with self._client.caller(exchange.headers):
            request = self._submit(endpoint, body, digested, api_key, headers)
        request.is_retry = says_retry(exchange)
        request.key = digest_of_parts(caller.encode(), name.encode()) if name else None
        held.enqueue()
        call = self._pending_calls.add(request, digest, client, key, held, account)
        # Weak: the call holds the request, which holds this callback. A cycle would be work for the garbage collector.
        request.notify(partial(self._on_outcome, weakref.ref(call)))
        return call

    def _submit(
        self, endpoint: str, body: bytes, digested: bytes, api_key: str | None, headers: dict[str, str]
    ) -> Request:
        try:
            request = self._client.submit_nowait(endpoint, body, api_key=api_key, headers=headers, digested=digested)
        except anyio.WouldBlock:
            raise no_room() from None
        except BatchError as error:
            self._tally.take_refusal(error)
            raise
        self._tally.requests += 1
        return request

    def _on_outcome(self, reference: weakref.ref[PendingCall]) -> None:
        call = reference()
        if call is not None:
            self._tell(call.request, trio.current_time() - call.created_at)
            self._pending_calls.on_outcome(call)

    def _tell(self, request: Request, seconds: float) -> None:
        """A request has its outcome, and waited so many seconds."""
        self._tally.take(request, seconds)
        for observe in self._observers:
            observe(request, seconds)

    async def _serve(self, call: PendingCall, client: Client, asked: StreamRequest, exchange: Exchange) -> None:
        """Wait for the outcome, and answer. If the client disconnects, a retry can be reattached to the call."""
        limit = 0.0 if exchange.is_http_1_0 else self._limits.heartbeat_seconds  # it cannot signal a cut-off response
        wait = client.wait = ClientWait(call, asked, exchange, self._error_parts, self.heartbeats)
        try:
            await wait.run(heartbeat_seconds(exchange.kept(patience), limit))
        finally:
            client.wait = None
            if wait.sent is Sent.OUTCOME:
                self._pending_calls.finish(call, client)
            elif client in call.clients:
                self._pending_calls.detach(call, client, was_cut_off=wait.sent is Sent.CUT_OFF)

    def _error_parts(self, error: BatchError, *, was_sent: bool = False) -> HttpParts:
        return batch_error_parts(error, has_journal=self._client.has_journal, was_sent=was_sent)


def _caller(headers: Mapping[str, str]) -> str:
    """A digest of who asks, and of what goes upstream with it."""
    who = repr((headers.get("authorization", ""), sorted(forwarded_headers(headers).items())))
    return hashlib.sha256(who.encode()).hexdigest()
