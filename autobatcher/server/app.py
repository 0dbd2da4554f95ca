"""`create_app`: what the proxy serves. A body goes through as bytes; an answer is not parsed at all."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
import openai
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from ..client.batchable import check_content_type
from ..client.http_parts import HttpParts, answer_parts, error_parts
from ..client.openai import BatchOpenAI
from ..client.streams import CONTENT_TYPE, STREAMED_ENDPOINTS, UnstreamableAnswerError, stream_events, without_streaming
from ..errors import BatchError
from ..upstream.failures import without_secret
from ..upstream.providers import BATCHABLE_ENDPOINTS
from .tally import Tally
from .worker import without_late_disconnects

logger: logging.Logger = logging.getLogger("autobatcher")

MAX_BODY_BYTES = 64_000_000
BODY_SECONDS = 300.0
"""How long a client may take to send a body: 64 MB at 2 Mbit/s."""


def create_app(
    client: BatchOpenAI,
    *,
    proxy_key: str | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
    tally: Tally | None = None,
) -> QuartTrio:
    """An OpenAI-compatible proxy: batchable calls go into batches of `client`, models are passed through.

    The client must be running while the app serves: open it around the server. A request whose connection ends is
    withdrawn, like a cancelled call of the library.

    Args:
        proxy_key: the bearer token that every /v1 route demands; None for none.
        max_body_bytes: larger bodies get a 413.
        tally: counts what goes through.
    """
    tally = Tally() if tally is None else tally
    app = QuartTrio("autobatcher", static_folder=None)
    app.asgi_app = without_late_disconnects(app.asgi_app)  # type: ignore[method-assign]  # Quart's way to add middleware
    app.config.update(MAX_CONTENT_LENGTH=max_body_bytes, BODY_TIMEOUT=BODY_SECONDS, RESPONSE_TIMEOUT=None)
    if proxy_key is not None:
        app.before_request(_key_check(proxy_key))
    for endpoint in sorted(BATCHABLE_ENDPOINTS):
        app.add_url_rule(endpoint, endpoint, _batched(client, endpoint, tally), methods=["POST"])
    app.add_url_rule("/v1/models", "models", _models(client), methods=["GET"])
    app.add_url_rule("/v1/models/<path:model>", "model", _models(client), methods=["GET"])
    app.add_url_rule("/health", "health", _health, methods=["GET"])
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(BatchError, _failed)
    app.register_error_handler(UnstreamableAnswerError, _unstreamable)
    app.register_error_handler(openai.APIError, _not_passed_through(client))
    app.register_error_handler(Exception, _defect)
    return app


def _batched(client: BatchOpenAI, endpoint: str, tally: Tally) -> Callable[[], Awaitable[Response]]:
    async def batched() -> Response:
        body: Any = await request.get_data(cache=False, as_text=False)
        check_content_type(endpoint, request.mimetype or "")
        wants_stream = include_usage = False
        if endpoint in STREAMED_ENDPOINTS:
            body, wants_stream, include_usage = without_streaming(body)
        tally.requests += 1
        try:
            answer = await client.answer(endpoint, body)
        except BatchError:
            tally.failed += 1
            raise
        tally.take(answer)
        parts = answer_parts(answer)
        if wants_stream and answer.status_code < 400:
            return _streamed(parts, stream_events(endpoint, answer.body, include_usage=include_usage))
        return _response(parts)

    return batched


def _models(client: BatchOpenAI) -> Callable[..., Awaitable[Response]]:
    async def models(model: str | None = None) -> Response:
        raw = client.models.with_raw_response
        answer = await (raw.list() if model is None else raw.retrieve(model))
        return _relayed(answer.http_response)

    return models


async def _health() -> Response:
    return Response("ok", content_type="text/plain; charset=utf-8")


def _key_check(proxy_key: str) -> Callable[[], Awaitable[Response | None]]:
    expected = f"Bearer {proxy_key}".encode()

    async def check_key() -> Response | None:
        given = request.headers.get("authorization", "").encode("utf-8", "surrogateescape")
        if not request.path.startswith("/v1/") or hmac.compare_digest(given, expected):
            return None
        message = "This proxy demands a key of its own: set OPENAI_API_KEY to what its --proxy-key was."
        return _error(401, message, kind="authentication_error", code="invalid_api_key")

    return check_key


# ---- errors ----


async def _refused(error: HTTPException) -> Response:
    """What Quart itself refuses: unknown routes, wrong methods, bodies that are too large."""
    status = error.code or 500
    if isinstance(error, RequestEntityTooLarge):
        return _error(status, "The request is larger than this proxy takes (--max-body-bytes).")
    if status in (404, 405):
        served = ", ".join(f"POST {endpoint}" for endpoint in sorted(BATCHABLE_ENDPOINTS))
        message = f"{request.method} {request.path} is not served here. This proxy serves {served}, "
        return _error(404, message + "GET /v1/models, GET /v1/models/{id} and GET /health.", code="unknown_url")
    return _error(status, error.description or error.name)


async def _failed(error: BatchError) -> Response:
    return _response(error_parts(error))


async def _unstreamable(error: UnstreamableAnswerError) -> Response:
    return _error(502, str(error), kind="server_error")


def _not_passed_through(client: BatchOpenAI) -> Callable[[openai.APIError], Awaitable[Response]]:
    async def not_passed_through(error: openai.APIError) -> Response:
        if not isinstance(error, openai.APIStatusError):
            return _error(502, f"The upstream cannot be reached: {type(error).__name__}", kind="api_connection_error")
        response = _relayed(error.response)
        response.set_data(without_secret(error.response.content, client.api_key))
        return response

    return not_passed_through


async def _defect(error: Exception) -> Response:
    logger.error("autobatcher: a defect in the proxy at %s", request.path, exc_info=error)
    return _error(500, "A defect of autobatcher; its log says more. Please report it.", kind="server_error")


# ---- responses ----


def _response(parts: HttpParts) -> Response:
    return Response(parts["content"], parts["status_code"], parts["headers"])


def _streamed(parts: HttpParts, frames: Iterable[bytes]) -> Response:
    async def body() -> Any:
        for frame in frames:
            yield frame

    headers = {**parts["headers"], "content-type": CONTENT_TYPE, "cache-control": "no-cache"}
    return Response(body(), parts["status_code"], headers)


def _relayed(answer: Any) -> Response:
    """An answer of the upstream's, told again. (Its content has been decoded, so the encoding is not passed on.)"""
    kept = {name: answer.headers[name] for name in ("content-type", "x-request-id") if name in answer.headers}
    return Response(answer.content, answer.status_code, kept)


def _error(status: int, message: str, *, kind: str = "invalid_request_error", code: str | None = None) -> Response:
    content = msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})
    headers = {"content-type": "application/json", "x-should-retry": "false"}
    return Response(content, status, headers)
