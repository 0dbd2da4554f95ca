"""What Quart serves: everything but batchable calls and background responses."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

import anyio
import msgspec
import openai
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from ..client.http_parts import HttpParts
from ..client.openai import BatchOpenAI
from ..printable import printable
from ..upstream.failures import reason_given
from .batch_rows import FEW_ROWS, MOST_ROWS
from .browser_headers import policy_of_page
from .description import description
from .exchange import RefusedError
from .metrics import Metrics
from .models import model_lookups
from .page import document
from .refusals import refusal_parts
from .report import Report
from .routes import not_allowed_parts, not_served_parts

logger: logging.Logger = logging.getLogger("autobatcher")

READY_SECONDS = 10.0
"""How long the result of a readiness check is cached, and its timeout."""

DEFECT: RefusedError = RefusedError(
    500, "This is a bug in autobatcher. The proxy's log has the traceback; please report it."
)


def add_views(
    app: QuartTrio, client: BatchOpenAI, report: Report, *, forward_keys: bool, has_webhooks: bool = False
) -> None:
    """Add the views of the proxy to Quart."""
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
        ("/openapi.json", _always(partial(_description, has_webhooks), "application/json")),
        ("/", _page()),
    )
    for path, view in routes:
        app.add_url_rule(path, path, view, methods=["GET"])
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(Exception, _defect)


def _description(has_webhooks: bool) -> bytes:
    return msgspec.json.encode(description(has_webhooks=has_webhooks))


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

    An outage does not undo that: callers that wait, and those that come back to their calls, need this proxy meanwhile.
    The upstream is asked at most once every `READY_SECONDS`.
    """
    last_asked, last_said, is_accepted = float("-inf"), "", False

    async def ready() -> Response:
        nonlocal last_asked, last_said, is_accepted
        if not report.is_draining and anyio.current_time() - last_asked > READY_SECONDS:
            last_asked = anyio.current_time()
            last_said, is_outage = await _why_not_ready(client, forward_keys)
            is_accepted = not last_said or (is_accepted and is_outage)
        is_ready = is_accepted and not report.is_draining
        reason = "shutting down" if report.is_draining else last_said
        content = msgspec.json.encode({"ready": is_ready, "reason": reason or None})
        return Response(content, 200 if is_ready else 503, content_type="application/json")

    return ready


async def _why_not_ready(client: BatchOpenAI, forward_keys: bool) -> tuple[str, bool]:
    """The reason, or "" if the upstream accepts our key; and whether it is one that passes by itself."""
    try:
        with anyio.fail_after(READY_SECONDS):
            await client.with_options(max_retries=0).batches.list(limit=1)
    except openai.APIStatusError as error:
        status = error.status_code
        if forward_keys and status in (401, 403):
            return "", False
        said = f"the upstream answered {status}: {printable(reason_given(error.response.content))}"
        return said, status in (408, 429) or status >= 500
    except (openai.APIError, TimeoutError) as error:
        return f"the upstream cannot be reached: {type(error).__name__}", True
    return "", False


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


# ---- errors ----


async def _refused(error: HTTPException) -> Response:
    """Errors that Quart raises itself: unknown routes and wrong methods."""
    if isinstance(error, NotFound):
        return _response(not_served_parts(request.method, request.path))
    if isinstance(error, MethodNotAllowed):
        return _response(not_allowed_parts(request.method, request.path, error.valid_methods or ()))
    return _refusal(RefusedError(error.code or 500, error.description or error.name))


async def _defect(error: Exception) -> Response:
    logger.error("autobatcher: a defect in the proxy at %r", request.path, exc_info=error)
    return _refusal(DEFECT, kind="server_error")


def _refusal(refused: RefusedError, *, kind: str | None = None) -> Response:
    return _response(refusal_parts(refused, kind=kind))


def _response(parts: HttpParts) -> Response:
    return Response(parts["content"], parts["status_code"], parts["headers"])
