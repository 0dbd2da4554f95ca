"""`create_app`: the routes of the proxy. Batchable calls are raw ASGI (calls.py); Quart serves everything else."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import msgspec
import openai
import trio
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from ..client.http_parts import HttpParts
from ..client.openai import BatchOpenAI
from ..printable import printable
from ..upstream.failures import reason_given
from ..upstream.key import key_mistake
from ..upstream.providers import BATCHABLE_ENDPOINTS
from . import caller_headers
from .access import Access, challenge
from .batch_rows import FEW_ROWS, MOST_ROWS
from .browser_headers import policy_of_page
from .calls import BatchedCalls, CallLimits
from .costs import learn_prices
from .description import description
from .exchange import ClientGoneError, Exchange, Receive, RefusedError, Scope, Send
from .hosts import OnlyServedHosts, ServedHosts, served_hosts
from .hypercorn.connection import without_late_disconnects
from .hypercorn.sends import broken_sends_raise
from .metrics import Metrics
from .models import model_lookups
from .page import document
from .pending_calls import PendingCalls
from .refusals import refusal_parts
from .report import Report
from .request_log import RequestLog
from .response_routes import BELOW
from .routes import not_allowed_parts, not_served_parts, served_path

logger: logging.Logger = logging.getLogger("autobatcher")

READY_SECONDS = 10.0
"""How long the result of a readiness check is cached, and its timeout."""

_LOOPBACK = served_hosts("127.0.0.1", is_loopback=True)


def create_app(
    client: BatchOpenAI,
    *,
    proxy_key: str | None = None,
    public_status: bool = False,
    forward_keys: bool = False,
    limits: CallLimits | None = None,
    report: Report | None = None,
    hosts: ServedHosts | None = None,
    request_log: RequestLog | None = None,
) -> QuartTrio:
    """Make an OpenAI-compatible proxy. Batchable calls go into batches of `client`; model lookups are passed through.

    The client must be running while the app serves: open it around the server. The request of a client that
    disconnects is kept for a grace period, so that a retry finds it: see `CallLimits`.

    Args:
        proxy_key: the key that every route but `access.OPEN_PATHS` requires; None for no authentication.
        public_status: whether `access.STATUS_PATHS` (the page, `/status`, `/metrics`, `/receipt`) need no key either.
        forward_keys: use each caller's own bearer token upstream. A batch never mixes keys.
        report: the counters behind `/`, `/status` and `/metrics`. Pass the client's events to its `take_event`.
        hosts: which hosts and origins are served, from `served_hosts`. Default: those of this machine alone.
        request_log: has a line for each batchable call.

    Raises:
        ValueError: `proxy_key` is empty or fits no header, or is given together with `forward_keys`: both need the same
            header.
    """
    if proxy_key is not None and forward_keys:
        raise ValueError("proxy_key and forward_keys exclude each other: callers have one bearer token to send")
    if proxy_key is not None and not proxy_key.strip():
        raise ValueError("proxy_key must not be empty")
    if proxy_key is not None and (mistake := key_mistake(proxy_key)) is not None:
        raise ValueError(f"proxy_key {mistake}")
    limits, report = limits or CallLimits(), report or Report()
    grace_seconds = 0.0 if client.shares_journal else limits.grace_seconds  # others may get the retry
    pending_calls = PendingCalls(grace_seconds=grace_seconds, most=limits.max_waiting, isolates=forward_keys)
    report.watch(client, pending_calls)
    calls = BatchedCalls(
        client,
        pending_calls,
        report,
        limits,
        forward_keys=forward_keys,
        **_observers(client, report, request_log),
    )
    app = QuartTrio("autobatcher", static_folder=None)
    quart = without_late_disconnects(app.asgi_app)
    access = Access(proxy_key, public_status=public_status)
    routes = _Routes(calls, quart, pending_calls, access, partial(_prepare, client, report))
    app.asgi_app = OnlyServedHosts(routes, hosts or _LOOPBACK)  # type: ignore[method-assign, assignment]  # Quart's own way
    app.config.update(RESPONSE_TIMEOUT=None)
    if proxy_key is not None:
        client.mask(proxy_key)
    _add_routes(app, client, report, forward_keys)
    return app


def _observers(client: BatchOpenAI, report: Report, request_log: RequestLog | None) -> dict[str, Any]:
    """Who is told of calls, as arguments of `BatchedCalls`."""
    if request_log is None:
        return {"observers": [report.failed_lines.take]}
    request_log.watch(client)
    return {"observers": [report.failed_lines.take, request_log.take], "on_refused": request_log.take_refused}


class _Routes:
    """Route batchable calls to `BatchedCalls` and everything else to Quart. The lifespan runs `PendingCalls`.

    Args:
        prepare: is run beside them, and tells when requests may come.
    """

    def __init__(
        self,
        calls: BatchedCalls,
        quart: Any,
        pending_calls: PendingCalls,
        access: Access,
        prepare: Callable[..., Awaitable[None]],
    ) -> None:
        self._calls = calls
        self._quart = quart
        self._pending_calls = pending_calls
        self._prepare = prepare
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            async with trio.open_nursery() as nursery:
                await nursery.start(self._pending_calls.run)
                await nursery.start(self._calls.left.run)
                await nursery.start(self._prepare)
                await self._quart(scope, receive, send)
                nursery.cancel_scope.cancel()
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # before it is accepted: a 403
        else:
            scope["path"] = served_path(scope["path"])
            await self._route(scope)(scope, receive, send)

    def _route(self, scope: Scope) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        if (refused := self._refused(scope)) is not None:
            return _refusing(refused)
        if scope["path"].startswith(BELOW):
            return partial(self._call, self._calls.responses)
        if scope["path"] not in BATCHABLE_ENDPOINTS:
            return self._page
        if scope["method"] != "POST":
            return _refusing(not_allowed_parts(scope["method"], scope["path"], ["POST"]))
        return partial(self._call, self._calls)

    def _refused(self, scope: Scope) -> HttpParts | None:
        """What is refused on every route."""
        if _has_two_lengths(scope):
            return refusal_parts(_TWO_LENGTHS, closes=True)
        if not scope["path"].startswith("/") and "://" not in scope["path"]:  # "?query"; Quart cannot bear it
            return refusal_parts(_NO_PATH, closes=True)
        refused = caller_headers.why_refused(scope["headers"])
        if refused is None:
            path, now = scope["path"], anyio.current_time()
            refused = self._access.why_refused(path, _authorization(scope), _address(scope), now)
        if refused is None:
            return None
        parts = refusal_parts(refused, closes=refused.status_code == 429)
        added = {"x-should-retry": "false", **challenge(refused, scope["path"])}
        return {**parts, "headers": {**parts["headers"], **added}}

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

    async def _call(
        self, answer: Callable[[Exchange], Awaitable[None]], scope: Scope, receive: Receive, send: Send
    ) -> None:
        exchange = Exchange(scope, receive, send)
        with broken_sends_raise():
            try:
                await answer(exchange)
            except Exception as error:
                logger.error("autobatcher: a defect in the proxy at %r", exchange.path, exc_info=error)
                if not exchange.has_begun:
                    with suppress(ClientGoneError):
                        await exchange.respond(refusal_parts(_DEFECT, kind="server_error"))


def _refusing(parts: HttpParts) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    return lambda scope, receive, send: Exchange(scope, receive, send).refuse(parts)


def _authorization(scope: Scope) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"), "")


def _address(scope: Scope) -> str:
    """The peer's address; "" if the server does not know it."""
    return str((scope.get("client") or ("",))[0])


def _add_routes(app: QuartTrio, client: BatchOpenAI, report: Report, forward_keys: bool) -> None:
    models = _models(client, forward_keys)
    metrics = Metrics(report)
    routes: Iterable[tuple[str, Callable[..., Awaitable[Response]]]] = (
        ("/v1/models", models),
        ("/v1/models/<path:model>", models),
        ("/health", _health),
        ("/ready", _ready(client, forward_keys, report)),
        ("/metrics", _after(metrics.refresh, metrics.text, "text/plain; version=0.0.4; charset=utf-8")),
        ("/status", _after(report.refresh, lambda: msgspec.json.encode(_status(report)), "application/json")),
        ("/receipt", _after(report.price, lambda: report.costs.document, "application/json")),
        ("/openapi.json", _always(lambda: msgspec.json.encode(description()), "application/json")),
        ("/", _page()),
    )
    for path, view in routes:
        app.add_url_rule(path, path, view, methods=["GET"])
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(Exception, _defect)


def _status(report: Report) -> dict[str, Any]:
    return report.status(MOST_ROWS if request.args.get("batches") == "all" else FEW_ROWS)


def _models(client: BatchOpenAI, forward_keys: bool) -> Callable[..., Awaitable[Response]]:
    look_up = model_lookups(client, forward_keys=forward_keys)

    async def models(model: str | None = None) -> Response:
        return _response(await look_up(request.headers.get("authorization", ""), model))

    return models


async def _health() -> Response:
    return Response("ok", content_type="text/plain; charset=utf-8")


def _ready(client: BatchOpenAI, forward_keys: bool, report: Report) -> Callable[[], Awaitable[Response]]:
    """Whether the upstream accepts our key; with `forward_keys`, whether it is reachable. Never while draining.

    The upstream is asked at most once every `READY_SECONDS`.
    """
    last_asked, last_said = float("-inf"), ""

    async def ready() -> Response:
        nonlocal last_asked, last_said
        if not report.is_draining and anyio.current_time() - last_asked > READY_SECONDS:
            last_asked, last_said = anyio.current_time(), await _why_not_ready(client, forward_keys)
        reason = "shutting down" if report.is_draining else last_said
        content = msgspec.json.encode({"ready": not reason, "reason": reason or None})
        return Response(content, 503 if reason else 200, content_type="application/json")

    return ready


async def _why_not_ready(client: BatchOpenAI, forward_keys: bool) -> str:
    """The reason, or "" if the upstream accepts our key."""
    try:
        with anyio.fail_after(READY_SECONDS):
            await client.with_options(max_retries=0).batches.list(limit=1)
    except openai.APIStatusError as error:
        if forward_keys and error.status_code in (401, 403):
            return ""
        return f"the upstream answered {error.status_code}: {printable(reason_given(error.response.content))}"
    except (openai.APIError, TimeoutError) as error:
        return f"the upstream cannot be reached: {type(error).__name__}"
    return ""


def _page() -> Callable[[], Awaitable[Response]]:
    html = document()
    policy = {"content-security-policy": policy_of_page(html)}
    return _always(html.encode, "text/html; charset=utf-8", policy)


def _always(
    content: Callable[[], bytes], content_type: str, headers: Mapping[str, str] | None = None
) -> Callable[[], Awaitable[Response]]:
    headers = {"content-type": content_type, "cache-control": "no-store", **(headers or {})}

    async def view() -> Response:
        return Response(content(), headers=headers)

    return view


def _after(
    refresh: Callable[[], Awaitable[None]], content: Callable[[], bytes], content_type: str
) -> Callable[[], Awaitable[Response]]:
    """A view of what `refresh` brings up to date."""
    plain = _always(content, content_type)

    async def view() -> Response:
        await refresh()
        return await plain()

    return view


async def _prepare(client: BatchOpenAI, report: Report, *, task_status: trio.TaskStatus[None]) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(report.overview.history.run)
        await nursery.start(learn_prices, client)
        task_status.started()


# ---- errors ----

_DEFECT = RefusedError(500, "This is a bug in autobatcher. The proxy's log has the traceback; please report it.")


_NO_PATH = RefusedError(400, "The request names no path. It begins with a slash.", code="no_path")
_TWO_LENGTHS = RefusedError(400, "Send Content-Length or Transfer-Encoding, not both.", code="two_lengths")
"""RFC 9112, 6.1: something in between may have read the message otherwise, so the connection is closed, too."""


def _has_two_lengths(scope: Scope) -> bool:
    names = {name.lower() for name, _ in scope["headers"]}
    return b"content-length" in names and b"transfer-encoding" in names


async def _refused(error: HTTPException) -> Response:
    """Errors that Quart raises itself: unknown routes and wrong methods."""
    if isinstance(error, NotFound):
        return _response(not_served_parts(request.method, request.path))
    if isinstance(error, MethodNotAllowed):
        return _response(not_allowed_parts(request.method, request.path, error.valid_methods or ()))
    return _refusal(RefusedError(error.code or 500, error.description or error.name))


async def _defect(error: Exception) -> Response:
    logger.error("autobatcher: a defect in the proxy at %r", request.path, exc_info=error)
    return _refusal(_DEFECT, kind="server_error")


def _refusal(refused: RefusedError, *, kind: str | None = None) -> Response:
    return _response(refusal_parts(refused, kind=kind))


def _response(parts: HttpParts) -> Response:
    return Response(parts["content"], parts["status_code"], parts["headers"])
