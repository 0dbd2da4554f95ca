"""The batchable calls of the proxy: raw ASGI, one task for each client that waits.

A client that was here before with the same request is reattached to its pending call; any other request becomes a new
one. Then the client's task waits for whichever comes first: the answer, the client's disconnect, or the time for a
heartbeat. The first heartbeat begins the response as a 200; what fails after that cannot be told as a status any more.
So a plain response is cut off without its end, for the client to send the request again: then it gets the stored error
at once. A stream ends with an error event.
"""

from __future__ import annotations

import hashlib
import logging
import weakref
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import msgspec
import trio

from ..client.batchable import check_content_type
from ..client.header_kinds import forwarded_headers
from ..client.http_parts import HttpParts, answer_parts, error_parts, streamed_parts
from ..client.openai import BatchOpenAI
from ..client.streams import (
    CONTENT_TYPE,
    STREAMED_ENDPOINTS,
    StreamRequest,
    UnstreamableAnswerError,
    stream_events,
    without_streaming,
)
from ..errors import BatchError
from .exchange import ClientGoneError, Exchange, RefusedError
from .heartbeat import HEARTBEAT_SECONDS, heartbeat_seconds
from .pending_calls import GRACE_SECONDS, PendingCall, PendingCalls
from .tally import Tally

logger: logging.Logger = logging.getLogger("autobatcher")

MAX_BODY_BYTES = 64_000_000
BODY_SECONDS = 300.0
"""How long a client may take to send a body: 64 MB at 2 Mbit/s."""

BUSY_SECONDS = 10
"""`Retry-After` in seconds when the proxy is full."""

COMMENT, WHITE_SPACE = b": ping\n\n", b"\n"
"""Heartbeats: what a reader of events skips, and what may stand before any JSON."""


@dataclass(frozen=True, kw_only=True)
class CallLimits:
    """What the proxy takes, and how it treats clients that wait.

    Attributes:
        heartbeat_seconds: send a heartbeat to each client at least this often; 0 for none.
        grace_seconds: how long the request of a client that went away is kept for it.
        max_waiting: requests that may be pending; further ones are answered with a 503.
        max_body_bytes, body_seconds: how large a body may be, and how long it may take to arrive.
    """

    heartbeat_seconds: float = HEARTBEAT_SECONDS
    grace_seconds: float = GRACE_SECONDS
    max_waiting: int = 20_000
    max_body_bytes: int = MAX_BODY_BYTES
    body_seconds: float = BODY_SECONDS


class BatchedCalls:
    """Answers POST requests to batchable endpoints.

    Args:
        forward_keys: a caller's own bearer token pays for its requests.
    """

    def __init__(
        self, client: BatchOpenAI, pending_calls: PendingCalls, tally: Tally, limits: CallLimits, *, forward_keys: bool
    ) -> None:
        self._client = client
        self._pending_calls = pending_calls
        self._tally = tally
        self._limits = limits
        self._forward_keys = forward_keys

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request; if its client goes away, keep the call for it."""
        try:
            endpoint = exchange.path
            asked = await self._asked(endpoint, exchange)
            call = self._pending_call(endpoint, asked, exchange)
        except ClientGoneError:
            return
        except RefusedError as refused:
            await exchange.refuse(refusal_parts(refused))
        except BatchError as error:
            await exchange.refuse(error_parts(error))
        else:
            await self._serve(call, asked, exchange)

    async def _asked(self, endpoint: str, exchange: Exchange) -> StreamRequest:
        limits = self._limits
        body = await exchange.read_body(most_bytes=limits.max_body_bytes, most_seconds=limits.body_seconds)
        check_content_type(endpoint, exchange.headers.get("content-type", ""))
        if endpoint in STREAMED_ENDPOINTS:
            return without_streaming(body)
        return StreamRequest(body, wants_stream=False, include_usage=False)

    def _pending_call(self, endpoint: str, asked: StreamRequest, exchange: Exchange) -> PendingCall:
        """The call that this client left when it went away, or a new one."""
        key = bearer_of(exchange.headers.get("authorization", "")) if self._forward_keys else None
        headers = forwarded_headers(exchange.headers)
        who = repr((exchange.headers.get("authorization", ""), sorted(headers.items())))
        caller = hashlib.sha256(who.encode()).hexdigest()
        call = self._pending_calls.reattach(endpoint, asked.body, caller)
        if call is not None:
            self._tally.reattached += 1
            return call
        try:
            if not self._pending_calls.has_room():
                raise anyio.WouldBlock
            request = self._client.submit_nowait(endpoint, asked.body, api_key=key, headers=headers)
        except anyio.WouldBlock:
            message = "This proxy has no room for more requests that wait: try again later."
            raise RefusedError(503, message, code="no_room", retry_after=BUSY_SECONDS) from None
        self._tally.requests += 1
        call = self._pending_calls.add(request, caller)
        # Weakly: the call holds the request, which will hold this. No circles, nothing for the garbage collector.
        request.notify(partial(self._on_outcome, weakref.ref(call)))
        return call

    def _on_outcome(self, reference: weakref.ref[PendingCall]) -> None:
        call = reference()
        if call is not None:
            self._tally.take(call.request, anyio.current_time() - call.created_at)
            self._pending_calls.on_outcome(call)

    async def _serve(self, call: PendingCall, asked: StreamRequest, exchange: Exchange) -> None:
        """Wait for the outcome, and answer. A client that goes away may come back to the call."""
        is_delivered = was_cut_off = False
        try:
            await self._wait(call, asked, exchange)
            is_delivered = await _deliver(_outcome_parts(call, asked), asked, exchange)
            was_cut_off = not is_delivered
        except ClientGoneError:
            pass
        finally:
            if is_delivered:
                self._pending_calls.finish(call)
            else:
                self._pending_calls.detach(call, was_cut_off=was_cut_off)

    async def _wait(self, call: PendingCall, asked: StreamRequest, exchange: Exchange) -> None:
        """Wait for the outcome, with heartbeats meanwhile. Raises `ClientGoneError`."""
        silence = heartbeat_seconds(exchange.headers, self._limits.heartbeat_seconds)
        if silence is None or exchange.is_http_1_0:  # HTTP/1.0 has no way to say that a response is cut off
            silence = float("inf")
        while True:
            with trio.CancelScope(deadline=trio.current_time() + silence) as call.wait_scope:
                if call.request.is_settled:
                    return
                await exchange.wait_until_gone()
                raise ClientGoneError
            if call.request.is_settled:
                return
            if not exchange.has_begun:
                await exchange.begin(200, _BEGUN_STREAM if asked.wants_stream else _BEGUN_JSON)
            await exchange.write(COMMENT if asked.wants_stream else WHITE_SPACE)


# No buffering: nginx would hold heartbeats back.
_BEGUN_JSON = {"content-type": "application/json", "cache-control": "no-store", "x-accel-buffering": "no"}
_BEGUN_STREAM = {**_BEGUN_JSON, "content-type": CONTENT_TYPE}


async def _deliver(parts: HttpParts, asked: StreamRequest, exchange: Exchange) -> bool:
    """Tell the outcome; whether that could be done."""
    has_failed = not 200 <= parts["status_code"] < 300
    if not exchange.has_begun:
        await exchange.respond(parts)
    elif not has_failed:
        await exchange.end(parts["content"])
    elif asked.wants_stream:
        await exchange.end(_error_event(parts["content"], exchange.path))
    else:
        return False  # the server cuts off a response that was not ended
    return True


def _outcome_parts(call: PendingCall, asked: StreamRequest) -> HttpParts:
    try:
        answer = call.request.result()
        if not asked.wants_stream or not 200 <= answer.status_code < 300:
            return answer_parts(answer)
        frames = stream_events(call.request.endpoint, answer.body, include_usage=asked.include_usage)
        return streamed_parts(answer, b"".join(frames))
    except BatchError as error:
        return error_parts(error)
    except UnstreamableAnswerError as error:
        return refusal_parts(RefusedError(502, str(error)), kind="server_error")


def _error_event(content: bytes, endpoint: str) -> bytes:
    """An error inside a stream, as the SDKs of either language raise it."""
    try:
        error: Any = msgspec.json.decode(content)["error"]
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError):
        error = {"message": content.decode(errors="replace")[:1000], "type": "server_error"}
    if endpoint == "/v1/responses":
        fields = error if isinstance(error, dict) else {"message": str(error)}
        event = {**fields, "type": "error", "sequence_number": 0}
        return b"event: error\ndata: %b\n\n" % msgspec.json.encode({**event, "error": error})
    return b"data: %b\n\n" % msgspec.json.encode({"error": error})


def bearer_of(authorization: str) -> str:
    """The caller's own key. Raises `RefusedError` (401) if there is none."""
    kind, _, key = authorization.partition(" ")
    if kind.lower() != "bearer" or not key.strip():
        message = "This proxy forwards its callers' own keys: send yours as a bearer token (OPENAI_API_KEY)."
        raise RefusedError(401, message, code="missing_api_key")
    return key.strip()


_KINDS = {401: "authentication_error", 502: "server_error", 503: "server_error"}


def refusal_parts(refused: RefusedError, *, kind: str | None = None) -> HttpParts:
    """The response that tells a refusal, OpenAI-shaped."""
    kind = kind or _KINDS.get(refused.status_code, "invalid_request_error")
    fields = {"message": refused.message, "type": kind, "param": None, "code": refused.code}
    headers = {"content-type": "application/json"}
    if refused.retry_after is None:
        headers["x-should-retry"] = "false"
    else:
        headers["retry-after"] = str(refused.retry_after)
    content = msgspec.json.encode({"error": fields})
    return {"status_code": refused.status_code, "headers": headers, "content": content}
