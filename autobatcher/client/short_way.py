"""The short way of a plain `chat.completions.create()`: body and model without the SDK's machinery in between.

That machinery costs a millisecond a call. Whatever is unusual goes the SDK's way: an argument that JSON has no type
for, somebody who watches the SDK's calls, an outcome that is no good answer. In that last case the SDK is told the
outcome as the response to its own request, so that its words, errors and lenient models are really its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from inspect import signature
from math import isfinite
from pathlib import Path
from types import FunctionType
from typing import Any

import anyio
import msgspec
import openai
from openai import NotGiven, Omit
from openai._models import add_request_id
from openai.resources.chat import AsyncCompletions
from openai.types.chat import ChatCompletion
from pydantic import ValidationError

from ..engine.request import Answer, Request
from ..errors import BatchError
from .call import ANSWERED, Call
from .openai import BatchOpenAI

ENDPOINT = "/v1/chat/completions"


def submitted(client: Any, arguments: Mapping[str, Any]) -> Request | None:
    """The request of a plain call, queued; None, and nothing is queued, if only the SDK's way will do."""
    body = _plain_body(arguments) if _takes_it(client) else None
    if body is None:
        return None
    call: Call = client._call()
    request = Request(
        account=call.account, endpoint=ENDPOINT, body=body, model=arguments["model"], max_retries=call.max_retries
    )
    try:
        client._engine.host.submit_nowait(request)
    except (anyio.WouldBlock, BatchError):
        return None
    return request


def _plain_body(arguments: Mapping[str, Any]) -> bytes | None:
    """The body of a plain call; None if it is anything else."""
    fields: dict[str, Any] = {}
    for name, value in arguments.items():
        if type(value) in _SENTINELS:
            continue
        if name in _NAMES and _is_json(value):
            fields[name] = value
        elif value is not None or name not in _EXTRAS:
            return None
    if not fields.get("model") or "messages" not in fields or fields.get("stream", False) is not False:
        return None
    try:
        return _to_json(fields)
    except (ValueError, OverflowError, msgspec.MsgspecError):  # half a surrogate pair; a number beyond all bounds
        return None


def _is_json(value: Any) -> bool:
    """Whether it is made of the very types that JSON has. The SDK takes others, too, and knows what to make of them."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is list:
        return _are_json(value)
    if kind is dict:
        return all(type(name) is str for name in value) and _are_json(value.values())
    return kind is float and isfinite(value)


def _are_json(values: Iterable[Any]) -> bool:
    for value in values:  # noqa: SIM110  (a generator costs half a microsecond)
        if not _is_json(value):
            return False
    return True


_SENTINELS = frozenset({Omit, NotGiven})
_SCALARS = frozenset({str, int, bool, type(None)})
_NAMES = frozenset(signature(AsyncCompletions.create).parameters) - {
    *("self", "timeout", "stream_options", "extra_headers", "extra_query", "extra_body")
}
_EXTRAS = frozenset({"extra_headers", "extra_query", "extra_body"})
_to_json = msgspec.json.Encoder().encode


def model_of(outcome: Answer | BatchError) -> ChatCompletion | None:
    """The model of a good answer; None if only the SDK's lenient construction can make one of it.

    It is equal to what the SDK makes, and dumps the same; only `model_fields_set` counts unknown fields, too.
    """
    if not isinstance(outcome, Answer) or not 200 <= outcome.status_code < 300:
        return None
    try:
        completion: ChatCompletion = _validated(outcome.body, strict=True)
    except ValidationError:
        return None
    add_request_id(completion, outcome.request_id)
    return completion


_validated = ChatCompletion.__pydantic_validator__.validate_json


def arguments_of(request: Request) -> dict[str, Any]:
    """The arguments that `request` was made of. (Nobody keeps them while it waits: they are as large as its body.)"""
    arguments: dict[str, Any] = msgspec.json.decode(request.body)
    return arguments


@contextmanager
def told_to_the_sdk(outcome: Answer | BatchError) -> Iterator[None]:
    """In here, this outcome is what a call through the SDK comes to."""
    token = ANSWERED.set(outcome)
    try:
        yield
    finally:
        ANSWERED.reset(token)


def _takes_it(client: Any) -> bool:
    """Whether nothing about this client is unusual."""
    return (
        type(client) is BatchOpenAI
        and client._key is None  # a function, which the SDK asks at each call
        and (client.timeout == openai.DEFAULT_TIMEOUT or client._engine.ignores_timeouts)
        and not client._strict_response_validation
        and not client._is_closed
        and not _is_watched(client)
    )


def _is_watched(client: openai.AsyncOpenAI) -> bool:
    """Whether a tracer has put itself, or hooks of its own, in the way of this client's calls."""
    return (
        "request" in client.__dict__
        or "post" in client.__dict__
        or not _is_the_sdks_own(openai.AsyncOpenAI.request)
        or not _is_the_sdks_own(openai.AsyncOpenAI.post)
        or not _is_the_sdks_own(AsyncCompletions.create)
        or any(client._client.event_hooks.values())
    )


@lru_cache(maxsize=64)
def _is_the_sdks_own(function: object) -> bool:
    """And not what a tracer has put in its place, before or after we were imported."""
    return isinstance(function, FunctionType) and function.__code__.co_filename.startswith(_SDK)


_SDK = str(Path(openai.__file__).parent)
