"""The short way of a plain `chat.completions.create()`: body and model without the SDK's machinery in between.

That machinery costs a millisecond a call. Whatever is unusual goes the SDK's way: an argument that JSON has no type
for, somebody who watches the SDK's calls, an outcome that is no good answer. In that last case the SDK is told the
outcome as the response to its own request, so that its words, errors and lenient models are really its own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
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


def submitted(completions: Any, arguments: Mapping[str, Any]) -> Request | None:
    """The request of a plain call, queued; None, and nothing is queued, if only the SDK's way will do.

    Args:
        completions: the resource whose `create` was called.
    """
    client = completions._client
    body = _plain_body(arguments) if completions._post == client.post and _takes_it(client) else None
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
    try:
        fields = _plain_fields(arguments)
        return None if fields is None else _to_json(fields)
    # Half a surrogate pair; a number beyond all bounds; a list that holds itself.
    except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return None


def _plain_fields(arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    fields: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in _NAMES:
            if type(value) in _SENTINELS:
                continue
            if not _is_json(value):
                return None
            fields[name] = value
        elif name not in _EXTRAS or (value is not None and type(value) not in _SENTINELS):
            return None
    model = fields.get("model")
    is_plain = type(model) is str and model and "messages" in fields and fields.get("stream", False) is False
    return fields if is_plain else None


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
        and bool(client.api_key)
        and type(client.max_retries) is int
        and (client.timeout == openai.DEFAULT_TIMEOUT or client._engine.ignores_timeouts)
        and not client._strict_response_validation
        and _are_plain_headers(client._custom_headers)
        and not client.is_closed()
        and not _is_watched(client)
    )


def _are_plain_headers(headers: Mapping[str, Any]) -> bool:
    """Whether they need none of the SDK's checks."""
    for name, value in headers.items():
        if type(value) is not str or name.lower() in ("authorization", "content-type"):
            return False
    return True


def _is_watched(client: Any) -> bool:
    """Whether somebody has put something in the way of the SDK's calls, on this client or on its class.

    (Who watches httpx as such sees what there is of HTTP: the files and batches.)
    """
    http = client._client
    return (
        not _WATCHABLE.isdisjoint(client.__dict__)
        or "_prepare_request" in client.__dict__
        or "send" in http.__dict__
        or "handle_async_request" in http._transport.__dict__
        or any(http.event_hooks.values())
        or not _is_the_sdks_own(AsyncCompletions.create)
        or not _are_the_sdks_own()
        or _logger.isEnabledFor(logging.DEBUG)  # the SDK tells of each request then
    )


def _are_the_sdks_own() -> bool:
    for name in _WATCHABLE:
        if not _is_the_sdks_own(getattr(BatchOpenAI, name)):
            return False
    return _is_the_sdks_own(openai.AsyncOpenAI._prepare_request)


def _is_the_sdks_own(function: Any) -> bool:
    """And not what a tracer has put in its place, before or after we were imported. (wrapt's proxies say that they are
    instances of what they wrap, and equal to it; so the type itself is asked.)"""
    return type(function) is FunctionType and function.__code__.co_filename.startswith(_SDK)


_WATCHABLE = frozenset({"request", "post", "_prepare_options", "_build_request", "_process_response"})
_SDK = str(Path(openai.__file__).parent) + os.sep
_logger = logging.getLogger("openai")
