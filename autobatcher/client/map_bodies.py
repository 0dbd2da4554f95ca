"""What a call of `map` asks, as bytes, and what its answer is, as the SDK's model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Iterable, Mapping
from functools import cache
from math import isfinite
from typing import Any

import msgspec
import openai.types
from openai import NotGiven, Omit
from pydantic import BaseModel, ValidationError

from ..engine.request import Answer
from ..errors import UnbatchableRequestError
from ..upstream.providers import BATCHABLE_ENDPOINTS
from .sdk_internals import add_request_id

CHAT = "/v1/chat/completions"
AHEAD = 10_000
"""The defaults of `map`."""


def check_map(endpoint: str, ahead: int, calls: object) -> None:
    """Check the arguments of `map`. Raises `TypeError` or `ValueError`, naming the parameter."""
    if endpoint not in BATCHABLE_ENDPOINTS:
        raise ValueError(f"endpoint must be one of {', '.join(sorted(BATCHABLE_ENDPOINTS))}, not {endpoint!r}")
    if isinstance(ahead, bool) or not isinstance(ahead, int) or ahead < 1:
        raise ValueError(f"ahead must be a whole number of at least 1, not {ahead!r}")
    if isinstance(calls, str | bytes | Mapping) or not isinstance(calls, Iterable | AsyncIterable):
        raise TypeError(f"calls must be an iterable of dicts with the arguments of calls, not {type(calls).__name__}")


def body_of(arguments: Any) -> bytes:
    """The body of a call with these arguments, as the SDK would make it.

    Raises:
        TypeError, ValueError: for arguments that have no JSON, or are no mapping.
        UnbatchableRequestError: for options of the SDK that a line of a batch cannot have.
    """
    if not isinstance(arguments, Mapping):
        raise TypeError(f"a call must be a dict with its arguments, not {type(arguments).__name__}")
    for name in _NOT_IN_A_LINE & arguments.keys():
        raise UnbatchableRequestError(f"A call of map cannot have {name}: give it to the client.", param=name)
    given = {name: value for name, value in arguments.items() if name != "extra_body"} | (
        arguments.get("extra_body") or {}
    )
    body = {name: value for name, value in given.items() if not isinstance(value, Omit | NotGiven)}
    return _to_json(body) if _is_json(body) else _to_json_slowly(body)


_NOT_IN_A_LINE = frozenset({"extra_headers", "extra_query", "timeout"})
_SCALARS = frozenset({str, int, bool, type(None)})
_to_json = msgspec.json.Encoder().encode


def _is_json(value: Any) -> bool:
    """Whether a value consists of exact JSON types."""
    kind = type(value)
    if kind is dict:
        return all(type(name) is str and _is_json(each) for name, each in value.items())
    if kind is list:
        return all(map(_is_json, value))
    return kind in _SCALARS or (kind is float and isfinite(value))


def _to_json_slowly(body: dict[str, Any]) -> bytes:
    return json.dumps(body, default=_plain, allow_nan=False, ensure_ascii=False).encode()


def _plain(value: Any) -> Any:
    """Models as the SDK sends them, and what else has a plain form."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True, by_alias=True)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return list(value)
    return msgspec.to_builtins(value)


@cache
def model_class(endpoint: str) -> Any:
    """The class of the answers of an endpoint."""
    if endpoint == "/v1/chat/completions":
        return openai.types.chat.ChatCompletion
    if endpoint == "/v1/responses":
        return openai.types.responses.Response
    return {
        "/v1/completions": openai.types.Completion,
        "/v1/embeddings": openai.types.CreateEmbeddingResponse,
        "/v1/moderations": openai.types.ModerationCreateResponse,
    }.get(endpoint, openai.types.ImagesResponse)


def model_of(endpoint: str, outcome: object) -> Any:
    """Validate a good answer into its model; None if that needs the SDK's lenient construction, or for a failure."""
    if not isinstance(outcome, Answer) or not 200 <= outcome.status_code < 300 or add_request_id is None:
        return None
    try:
        model = model_class(endpoint).__pydantic_validator__.validate_json(outcome.body, strict=True)
    except ValidationError:
        return None
    add_request_id(model, outcome.request_id)
    return model
