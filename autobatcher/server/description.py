"""The proxy's OpenAPI description, with only the required fields of each body. Pure."""

from __future__ import annotations

from typing import Any

from ..client.deadlines import DEADLINE_HEADER
from ..upstream.providers import BATCHABLE_ENDPOINTS

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}}},
}

_REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": {"type": "array", "items": {"type": "object"}}},
    "/v1/completions": {"prompt": {"type": "string"}},
    "/v1/embeddings": {"input": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}},
    "/v1/images/edits": {"prompt": {"type": "string"}},
    "/v1/images/generations": {"prompt": {"type": "string"}},
    "/v1/moderations": {"input": {"type": "string"}},
    "/v1/responses": {"input": {"type": "string"}},
}

_DEADLINE = {
    "name": DEADLINE_HEADER,
    "in": "header",
    "description": "By when the answer is needed: seconds, a duration such as 45m, or an ISO 8601 instant.",
    "schema": {"type": "string"},
}


def description(*, has_webhooks: bool = True) -> dict[str, Any]:
    """An OpenAPI 3.1 document.

    Args:
        has_webhooks: whether this proxy has a `--webhook-secret`.
    """
    paths: dict[str, Any] = {endpoint: {"post": _batched(endpoint)} for endpoint in sorted(BATCHABLE_ENDPOINTS)}
    paths["/v1/models"] = {"get": _read("The upstream's models.")}
    paths["/v1/models/{model}"] = {
        "get": _read("One of them.")
        | {"parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]}
    }
    paths |= _responses()
    for path, what in {
        "/health": "Whether the proxy is alive.",
        "/ready": "Whether the upstream accepts the key, as far as it was last heard.",
        "/metrics": "Metrics for Prometheus.",
        "/status": "The state of the proxy, as JSON.",
        "/receipt": "What was paid, by model, endpoint and lane, as JSON.",
        "/": "The state of the proxy, as a live page.",
    }.items():
        paths[path] = {"get": _read(what)}
    if has_webhooks:
        paths["/webhooks"] = {"post": _webhook()}
    return {"openapi": "3.1.0", "info": {"title": "autobatcher serve", "version": "1"}, "paths": paths}


def _responses() -> dict[str, Any]:
    """The routes of responses that are made in the background."""
    named = {"parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]}
    return {
        "/v1/responses/{id}": {
            "get": _read("A response that was made with `background: true`, as it is now.") | named,
            "delete": _read("It is deleted, and withdrawn if it has not ended.") | named,
        },
        "/v1/responses/{id}/cancel": {"post": _read("It is cancelled, unless it has ended.") | named},
    }


def _webhook() -> dict[str, Any]:
    subject = {"type": "object", "properties": {"id": {"type": "string"}, "batch_id": {"type": "string"}}}
    fields = {"type": {"type": "string"}, "data": subject}
    schema = {"type": "object", "required": ["type"], "properties": fields}
    return {
        "summary": "For the provider, with `--webhook-secret`: a batch has ended (Standard Webhooks).",
        "parameters": [
            {"name": f"webhook-{name}", "in": "header", "required": True, "schema": {"type": "string"}}
            for name in ("id", "timestamp", "signature")
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"204": {"description": "It was taken."}, "default": {"description": "An error."}},
    }


def _batched(endpoint: str) -> dict[str, Any]:
    fields = {"model": {"type": "string"}, "stream": {"type": "boolean"}, **_REQUESTS[endpoint]}
    if endpoint == "/v1/responses":
        fields["background"] = {"type": "boolean"}
    schema = {"type": "object", "required": ["model", *_REQUESTS[endpoint]], "properties": fields}
    return {
        "summary": "Answered by a batch, so it takes as long as a batch.",
        "parameters": [_DEADLINE],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {"description": "OpenAI's response.", "content": {"application/json": {}, "text/event-stream": {}}},
            "default": {"description": "An error.", "content": {"application/json": {"schema": _ERROR}}},
        },
    }


def _read(what: str) -> dict[str, Any]:
    return {"summary": what, "responses": {"200": {"description": what}, "default": {"description": "An error."}}}
