"""`create_app`: the routes of the proxy. Batchable calls are raw ASGI (calls.py); Quart serves everything else."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import trio
from quart_trio import QuartTrio

from ..client.http_parts import HttpParts
from ..client.openai import BatchOpenAI
from ..upstream.key import key_mistake
from ..upstream.providers import BATCHABLE_ENDPOINTS
from . import caller_headers
from .access import Access, challenge
from .calls import BatchedCalls, CallLimits
from .costs import learn_prices
from .exchange import ClientGoneError, Exchange, Receive, RefusedError, Scope, Send
from .header_memory import kept, memory_of
from .hosts import OnlyServedHosts, ServedHosts, served_hosts
from .hypercorn.connection import without_late_disconnects
from .pending_calls import PendingCalls
from .refusals import refusal_parts
from .report import Report
from .request_log import RequestLog
from .response_routes import BELOW
from .routes import WEBHOOKS, not_allowed_parts, served_path
from .views import DEFECT, add_views
from .webhooks import Webhooks

logger: logging.Logger = logging.getLogger("autobatcher")

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
    webhook_secrets: Sequence[str] = (),
) -> QuartTrio:
    """Make an OpenAI-compatible proxy. Batchable calls go into batches of `client`; model lookups are passed through.

    The client must be running while the app serves: open it around the server. The request of a client that
    disconnects is kept for a grace period, so that a retry finds it: see `CallLimits`.

    Args:
        proxy_key: the key that every route but /health, /ready and /openapi.json requires; None for no authentication.
        public_status: whether `access.STATUS_PATHS` (the page, `/status`, `/metrics`, `/receipt`) need no key either.
        forward_keys: use each caller's own bearer token upstream. A batch never mixes keys.
        report: the counters behind `/`, `/status` and `/metrics`. Pass the client's events to its `take_event`.
        hosts: which hosts and origins are served, from `served_hosts`. Default: those of this machine alone.
        request_log: has a line for each batchable call.
        webhook_secrets: those that sign the webhooks of the provider. If there are any, `POST /webhooks` is served,
            without a key.

    Raises:
        ValueError: `proxy_key` is empty or fits no header, or is given together with `forward_keys`: both need the same
            header. Or a webhook secret cannot be used.
    """
    if proxy_key is not None and forward_keys:
        raise ValueError("proxy_key and forward_keys exclude each other: callers have one bearer token to send")
    if proxy_key is not None and not proxy_key.strip():
        raise ValueError("proxy_key must not be empty")
    if proxy_key is not None and (mistake := key_mistake(proxy_key)) is not None:
        raise ValueError(f"proxy_key {mistake}")
    limits, report = limits or CallLimits(), report or Report()
    grace_seconds = 0.0 if client.shares_journal else limits.grace_seconds  # others may get the retry
    pending_calls = PendingCalls(
        grace_seconds=grace_seconds,
        most=limits.max_waiting,
        isolates=forward_keys,
        most_sent_bytes=limits.most_sent_bytes,
    )
    report.watch(client, pending_calls)
    calls = BatchedCalls(
        client,
        pending_calls,
        report,
        limits,
        forward_keys=forward_keys,
        **_observers(client, report, request_log),
    )
    report.gauges.watch_bodies(calls.bodies)
    app = QuartTrio("autobatcher", static_folder=None)
    quart = without_late_disconnects(app.asgi_app)
    webhooks = Webhooks(client, webhook_secrets, report.tally.webhooks) if webhook_secrets else None
    also_open = frozenset() if webhooks is None else frozenset({WEBHOOKS})
    access = Access(proxy_key, public_status=public_status, also_open=also_open)
    routes = _Routes(calls, quart, pending_calls, access, webhooks, partial(_prepare, client, report))
    app.asgi_app = OnlyServedHosts(routes, hosts or _LOOPBACK)  # type: ignore[method-assign, assignment]  # Quart's own way
    app.config.update(RESPONSE_TIMEOUT=None)
    if proxy_key is not None:
        client.mask(proxy_key)
    add_views(app, client, report, forward_keys=forward_keys, has_webhooks=webhooks is not None)
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
        webhooks: None if there are none.
        prepare: is run beside them, and tells when requests may come.
    """

    def __init__(
        self,
        calls: BatchedCalls,
        quart: Any,
        pending_calls: PendingCalls,
        access: Access,
        webhooks: Webhooks | None,
        prepare: Callable[..., Awaitable[None]],
    ) -> None:
        self._calls = calls
        self._quart = quart
        self._pending_calls = pending_calls
        self._prepare = prepare
        self._access = access
        self._webhooks = webhooks

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return self._live(scope, receive, send)
        if scope["type"] == "websocket":
            return send({"type": "websocket.close"})  # before it is accepted: a 403
        scope["path"] = served_path(scope["path"])
        return self._route(scope)(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            for run in (self._pending_calls.run, self._calls.left.run, self._calls.heartbeats.run, self._prepare):
                await nursery.start(run)
            await self._quart(scope, receive, send)
            nursery.cancel_scope.cancel()

    def _route(self, scope: Scope) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        if (refused := self._refused(scope)) is not None:
            return _refusing(refused)
        if scope["path"].startswith(BELOW):
            return partial(self._call, self._calls.responses)
        answer = self._webhooks if scope["path"] == WEBHOOKS else self._calls
        if answer is None or scope["path"] not in (WEBHOOKS, *BATCHABLE_ENDPOINTS):
            return self._page
        if scope["method"] != "POST":
            return _refusing(not_allowed_parts(scope["method"], scope["path"], ["POST"]))
        return partial(self._call, answer)

    def _refused(self, scope: Scope) -> HttpParts | None:
        """What is refused on every route."""
        if _has_two_lengths(scope):
            return refusal_parts(_TWO_LENGTHS, closes=True)
        if not scope["path"].startswith("/") and "://" not in scope["path"]:  # "?query"; Quart cannot bear it
            return refusal_parts(_NO_PATH, closes=True)
        refused = kept(memory_of(scope), caller_headers.why_refused, scope["headers"])
        if refused is None and self._access.needs_key(scope["path"]):
            path, now = scope["path"], trio.current_time()
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
        try:
            await answer(exchange)
        except Exception as error:
            logger.error("autobatcher: a defect in the proxy at %r", exchange.path, exc_info=error)
            if not exchange.has_begun:
                with suppress(ClientGoneError):
                    await exchange.respond(refusal_parts(DEFECT, kind="server_error"))


def _refusing(parts: HttpParts) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    return lambda scope, receive, send: Exchange(scope, receive, send).refuse(parts)


def _authorization(scope: Scope) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"), "")


def _address(scope: Scope) -> str:
    """The peer's address; "" if the server does not know it."""
    return str((scope.get("client") or ("",))[0])


async def _prepare(client: BatchOpenAI, report: Report, *, task_status: trio.TaskStatus[None]) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(report.overview.history.run)
        await nursery.start(learn_prices, client)
        task_status.started()


# ---- errors ----

_NO_PATH = RefusedError(400, "The request names no path. It begins with a slash.", code="no_path")
_TWO_LENGTHS = RefusedError(400, "Send Content-Length or Transfer-Encoding, not both.", code="two_lengths")
"""RFC 9112, 6.1: something in between may have read the message otherwise, so the connection is closed, too."""


def _has_two_lengths(scope: Scope) -> bool:
    codings = kept(memory_of(scope), _codings, scope["headers"])
    return bool(codings) and any(name == b"content-length" for name, _ in scope["headers"])


def _codings(headers: Iterable[tuple[bytes, bytes]]) -> Sequence[bytes]:
    return [value for name, value in headers if name == b"transfer-encoding"]
