"""The emulator's own answers, without a model: deterministic for each request."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec

from ..wire import RefusedError, decode_object, openai_error
from .chat import chat_completion
from .completions import completion
from .embeddings import embeddings
from .images import images
from .metering import COUNTED_PLAINLY, Metering
from .moderations import moderation
from .prompt import Prompt
from .responses import response

__all__ = ["ANSWERABLE", "Answer", "Metering", "Prompt", "answer"]


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and a body: JSON, except from a forwarded server."""

    status: int
    body: bytes = field(repr=False)


_WRITERS: dict[str, Callable[[Prompt], dict[str, Any]]] = {
    "/v1/chat/completions": chat_completion,
    "/v1/responses": response,
    "/v1/embeddings": embeddings,
    "/v1/completions": completion,
    "/v1/moderations": moderation,
    "/v1/images/generations": images,
    "/v1/images/edits": images,
}
ANSWERABLE = frozenset(_WRITERS)

_FAILING_MODEL = re.compile(r"fail-([1-5]\d\d)")


def answer(
    endpoint: str, body: bytes, created: int, tier: str = "default", metering: Metering = COUNTED_PLAINLY
) -> Answer:
    """Answers the request `body` to `endpoint` at the unix second `created`, on a service tier.

    A model whose name starts with `fail-<status>` fails with that status. A request that cannot be answered
    fails with 400 and says why; an endpoint that has no answers fails with 404.
    """
    try:
        return Answer(200, msgspec.json.encode(_write(endpoint, body, created, tier, metering)))
    except RefusedError as refused:
        error = openai_error(refused.status, refused.message, param=refused.param, code=refused.code)
        return Answer(refused.status, msgspec.json.encode(error))


def _write(endpoint: str, body: bytes, created: int, tier: str, metering: Metering) -> dict[str, Any]:
    writer = _WRITERS.get(endpoint)
    if writer is None:
        raise RefusedError(404, f"Unknown endpoint: {endpoint}", code="unknown_url")
    request = decode_object(body)
    model = request.get("model")
    if isinstance(model, str):
        _refuse_failing(model)
    elif writer not in (images, moderation):
        raise RefusedError(400, "you must provide a model parameter", param="model")
    canonical = msgspec.json.encode(request, order="deterministic")  # however its sender writes it
    try:
        return writer(Prompt(request, created, blake2b(canonical, digest_size=12).hexdigest(), tier, metering))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:  # a field is of another type
        raise RefusedError(400, f"A field of the request has a value of a wrong type ({error!r:.200}).") from error


def _refuse_failing(model: str) -> None:
    if match := _FAILING_MODEL.match(model):
        status = int(match[1])
        raise RefusedError(status, f"The model {model!r} always fails with status {status}.", code="model_always_fails")
