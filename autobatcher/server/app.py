"""`create_app`: the routes of the proxy. Batchable calls are raw ASGI (calls.py); Quart serves everything else."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from importlib.resources import files
from typing import Any

import anyio
import msgspec
import openai
import trio
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from ..client.openai import BatchOpenAI
from ..upstream.providers import BATCHABLE_ENDPOINTS
from .calls import BatchedCalls, CallLimits, bearer_of, refusal_parts
from .description import description
from .exchange import ClientGoneError, Exchange, Receive, RefusedError, Scope, Send
from .hypercorn.connection import broken_sends_raise, without_late_disconnects
from .metrics import Metrics
from .paths import is_model_name
from .pending_calls import PendingCalls
from .report import Report

logger: logging.Logger = logging.getLogger("autobatcher")

READY_SECONDS = 10.0
"""How long the result of a readiness check is cached, and its timeout."""

MODEL_LOOKUPS = 8
"""How many are passed through at a time: each takes a connection to the upstream."""


def create_app(
    client: BatchOpenAI,
    *,
    proxy_key: str | None = None,
    forward_keys: bool = False,
    limits: CallLimits | None = None,
    report: Report | None = None,
) -> QuartTrio:
    """Make an OpenAI-compatible proxy. Batchable calls go into batches of `client`; model lookups are passed through.

    The client must be running while the app serves: open it around the server. The request of a client that
    disconnects is kept for a grace period, so that a retry finds it: see `CallLimits`.

    Args:
        proxy_key: the bearer token that every /v1 route requires; None for no authentication.
        forward_keys: use each caller's own bearer token upstream. A batch never mixes keys.
        report: the counters behind `/`, `/status` and `/metrics`. Pass the client's events to its `take_event`.

    Raises:
        ValueError: `proxy_key` is empty, or given together with `forward_keys`: both need the same header.
    """
    if proxy_key is not None and forward_keys:
        raise ValueError("proxy_key and forward_keys exclude each other: callers have one bearer token to send")
    if proxy_key is not None and not proxy_key.strip():
        raise ValueError("proxy_key must not be empty")
    limits, report = limits or CallLimits(), report or Report()
    pending_calls = PendingCalls(grace_seconds=limits.grace_seconds, most=limits.max_waiting)
    report.watch(client, pending_calls)
    calls = BatchedCalls(client, pending_calls, report.tally, limits, forward_keys=forward_keys)
    app = QuartTrio("autobatcher", static_folder=None)
    quart = without_late_disconnects(app.asgi_app)
    app.asgi_app = _Routes(calls, quart, pending_calls, proxy_key)  # type: ignore[method-assign, assignment]  # Quart's own way
    app.config.update(RESPONSE_TIMEOUT=None)
    if proxy_key is not None:
        client.mask(proxy_key)
        app.before_request(_key_check(proxy_key))
    _add_routes(app, client, report, forward_keys)
    return app


class _Routes:
    """Route batchable calls to `BatchedCalls` and everything else to Quart. The lifespan runs `PendingCalls`."""

    def __init__(self, calls: BatchedCalls, quart: Any, pending_calls: PendingCalls, proxy_key: str | None) -> None:
        self._calls = calls
        self._quart = quart
        self._pending_calls = pending_calls
        self._proxy_key = proxy_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            async with trio.open_nursery() as nursery:
                await nursery.start(self._pending_calls.run)
                await self._quart(scope, receive, send)
                nursery.cancel_scope.cancel()
        elif scope["type"] == "http" and _has_two_lengths(scope):
            await Exchange(scope, receive, send).refuse(refusal_parts(_TWO_LENGTHS, closes=True))
        elif scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in BATCHABLE_ENDPOINTS:
            await self._call(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # before it is accepted: a 403
        else:
            await self._page(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pages take no body. Quart would respond before reading one, so it is drained first."""
        try:
            await Exchange(scope, receive, send).drain()
        except ClientGoneError:
            return
        messages = iter([{"type": "http.request"}])  # an empty body

        async def after_body() -> MutableMapping[str, Any]:
            return next(messages, None) or await receive()

        await self._quart(scope, after_body, send)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        if self._proxy_key is not None and not _is_key(exchange.headers.get("authorization", ""), self._proxy_key):
            await exchange.refuse(refusal_parts(_WRONG_KEY))
            return
        with broken_sends_raise():
            try:
                await self._calls(exchange)
            except Exception as error:
                logger.error("autobatcher: a defect in the proxy at %r", exchange.path, exc_info=error)
                if not exchange.has_begun:
                    await exchange.respond(refusal_parts(_DEFECT, kind="server_error"))


def _add_routes(app: QuartTrio, client: BatchOpenAI, report: Report, forward_keys: bool) -> None:
    models = _models(client, forward_keys)
    metrics = Metrics(report)
    routes: Iterable[tuple[str, Callable[..., Awaitable[Response]]]] = (
        ("/v1/models", models),
        ("/v1/models/<path:model>", models),
        ("/health", _health),
        ("/ready", _ready(client, forward_keys)),
        ("/metrics", _always(metrics.text, "text/plain; version=0.0.4; charset=utf-8")),
        ("/status", _always(lambda: msgspec.json.encode(report.status()), "application/json")),
        ("/openapi.json", _always(lambda: msgspec.json.encode(description()), "application/json")),
        ("/", _always(_page, "text/html; charset=utf-8")),
    )
    for path, view in routes:
        app.add_url_rule(path, path, view, methods=["GET"])
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(openai.APIError, _not_passed_through)
    app.register_error_handler(Exception, _defect)


def _models(client: BatchOpenAI, forward_keys: bool) -> Callable[..., Awaitable[Response]]:
    limiter = anyio.CapacityLimiter(MODEL_LOOKUPS)

    async def models(model: str | None = None) -> Response:
        if model is not None and not is_model_name(model):
            return _refusal(RefusedError(404, f"There is no model {model!r}.", code="model_not_found"))
        key = request.headers.get("authorization", "")
        try:
            headers = {"Authorization": f"Bearer {bearer_of(key)}"} if forward_keys else {}
        except RefusedError as refused:
            return _refusal(refused)
        raw = client.models.with_raw_response
        async with limiter:
            answer = await (
                raw.list(extra_headers=headers) if model is None else raw.retrieve(model, extra_headers=headers)
            )
        return _relayed(answer.http_response)

    return models


async def _health() -> Response:
    return Response("ok", content_type="text/plain; charset=utf-8")


def _ready(client: BatchOpenAI, forward_keys: bool) -> Callable[[], Awaitable[Response]]:
    """Whether the upstream accepts our key; with `forward_keys`, whether it is reachable.

    The upstream is asked at most once every `READY_SECONDS`.
    """
    last_asked, last_said = float("-inf"), ""

    async def ready() -> Response:
        nonlocal last_asked, last_said
        if anyio.current_time() - last_asked > READY_SECONDS:
            last_asked, last_said = anyio.current_time(), await _why_not_ready(client, forward_keys)
        content = msgspec.json.encode({"ready": not last_said, "reason": last_said or None})
        return Response(content, 503 if last_said else 200, content_type="application/json")

    return ready


async def _why_not_ready(client: BatchOpenAI, forward_keys: bool) -> str:
    """The reason, or "" if the upstream accepts our key."""
    try:
        with anyio.fail_after(READY_SECONDS):
            await client.with_options(max_retries=0).batches.list(limit=1)
    except openai.APIStatusError as error:
        if forward_keys and error.status_code in (401, 403):
            return ""
        return f"the upstream answered {error.status_code}"
    except (openai.APIError, TimeoutError) as error:
        return f"the upstream cannot be reached: {type(error).__name__}"
    return ""


def _page() -> bytes:
    return files("autobatcher.server").joinpath("page.html").read_bytes()


def _always(content: Callable[[], bytes], content_type: str) -> Callable[[], Awaitable[Response]]:
    async def view() -> Response:
        return Response(content(), headers={"content-type": content_type, "cache-control": "no-store"})

    return view


# ---- keys and errors ----

_WRONG_KEY = RefusedError(
    401,
    "This proxy requires its own key: set OPENAI_API_KEY to the value of its --proxy-key.",
    code="invalid_api_key",
)
_DEFECT = RefusedError(500, "This is a bug in autobatcher. The proxy's log has the traceback; please report it.")


_TWO_LENGTHS = RefusedError(400, "Send Content-Length or Transfer-Encoding, not both.", code="two_lengths")
"""RFC 9112, 6.1: something in between may have read the message otherwise, so the connection is closed, too."""


def _has_two_lengths(scope: Scope) -> bool:
    names = {name.lower() for name, _ in scope["headers"]}
    return b"content-length" in names and b"transfer-encoding" in names


def _is_key(authorization: str, key: str) -> bool:
    kind, _, given = authorization.partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), key.encode())


def _key_check(proxy_key: str) -> Callable[[], Awaitable[Response | None]]:
    async def check_key() -> Response | None:
        if not request.path.startswith("/v1/") or _is_key(request.headers.get("authorization", ""), proxy_key):
            return None
        return _refusal(_WRONG_KEY)

    return check_key


async def _refused(error: HTTPException) -> Response:
    """Errors that Quart raises itself: unknown routes and wrong methods."""
    status = error.code or 500
    if status in (404, 405):
        served = ", ".join(f"POST {endpoint}" for endpoint in sorted(BATCHABLE_ENDPOINTS))
        message = f"{request.method} {request.path} is not served here. This proxy serves {served}, "
        others = "GET /v1/models, /v1/models/{id}, /health, /ready, /metrics, /status, /openapi.json and /."
        return _refusal(RefusedError(404, message + others, code="unknown_url"))
    return _refusal(RefusedError(status, error.description or error.name))


async def _not_passed_through(error: openai.APIError) -> Response:
    if not isinstance(error, openai.APIStatusError):
        reason = f"The upstream cannot be reached: {type(error).__name__}"
        return _refusal(RefusedError(502, reason), kind="api_connection_error")
    return _relayed(error.response)


async def _defect(error: Exception) -> Response:
    logger.error("autobatcher: a defect in the proxy at %r", request.path, exc_info=error)
    return _refusal(_DEFECT, kind="server_error")


def _relayed(answer: Any) -> Response:
    """Relay an upstream response. Its content is decoded, so its content encoding is dropped."""
    kept = {name: answer.headers[name] for name in ("content-type", "x-request-id") if name in answer.headers}
    return Response(answer.content, answer.status_code, kept)


def _refusal(refused: RefusedError, *, kind: str | None = None) -> Response:
    parts = refusal_parts(refused, kind=kind)
    return Response(parts["content"], parts["status_code"], parts["headers"])
