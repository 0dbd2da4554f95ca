"""Model lookups, passed through to the upstream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import openai

from ..client.http_parts import HttpParts
from ..client.openai import BatchOpenAI
from ..engine.fair_limiter import FairLimiter
from .exchange import RefusedError
from .keys import bearer_of
from .paths import is_model_name
from .refusals import refusal_parts
from .relayed import relayed_parts

MODEL_LOOKUPS = 8
"""How many are passed through at a time: each takes a connection to the upstream. Of callers with keys of their own,
four times as many, and one after the other."""

Lookup = Callable[[str, str | None], Awaitable[HttpParts]]


def model_lookups(client: BatchOpenAI, *, forward_keys: bool) -> Lookup:
    """A function of a caller's Authorization header and a model's name, or None for all models.

    Args:
        forward_keys: use each caller's own bearer token upstream.
    """
    limiter = FairLimiter.for_calls(MODEL_LOOKUPS, isolates=forward_keys)

    async def look_up(authorization: str, model: str | None) -> HttpParts:
        try:
            if model is not None and not is_model_name(model):
                raise RefusedError(404, f"There is no model {model!r}.", code="model_not_found")
            headers = {"Authorization": f"Bearer {bearer_of(authorization)}"} if forward_keys else {}
        except RefusedError as refused:
            return refusal_parts(refused)
        async with limiter.turn(headers.get("Authorization")):
            answer = await _answer(client, model, headers)
        if isinstance(answer, RefusedError):
            return refusal_parts(answer, kind="api_connection_error")
        return relayed_parts(answer.status_code, answer.content, answer.headers.get("x-request-id"))

    return look_up


async def _answer(client: BatchOpenAI, model: str | None, headers: dict[str, str]) -> Any:
    """The upstream's response, of any status, or a `RefusedError` if there is none."""
    raw = client.models.with_raw_response
    try:
        if model is None:
            return (await raw.list(extra_headers=headers)).http_response
        return (await raw.retrieve(model, extra_headers=headers)).http_response
    except openai.APIStatusError as error:
        return error.response
    except openai.APIError as error:
        return RefusedError(502, f"The upstream cannot be reached: {type(error).__name__}")
