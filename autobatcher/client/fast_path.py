"""The fast path of a plain `chat.completions.create()`: body and model without the SDK's own code in between.

That code costs a millisecond a call. Whatever is unusual goes through the SDK: an argument that JSON has no type for,
somebody who watches the SDK's calls, an outcome that is no good answer. In that last case the SDK is told the outcome
as the response to its own request, so that its words, errors and lenient models are really its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from math import isfinite
from typing import Any

import anyio
import msgspec
import openai
from openai import NotGiven, Omit
from openai.resources.chat import AsyncCompletions
from openai.types.chat import ChatCompletion
from pydantic import ValidationError

from ..engine.request import Answer, Request
from ..errors import BatchError
from .call import ANSWERED, Call
from .sdk_internals import add_request_id, can_be_skipped

ENDPOINT = "/v1/chat/completions"


class FastPath:
    """The fast path of one client.

    Args:
        client_class: the class that it is made for. A client of a subclass may have changed anything, and goes through
            the SDK.
    """

    def __init__(self, client: Any, client_class: type) -> None:
        self._client = client
        self._client_class: Any = client_class

    def submit(self, completions: Any, arguments: Mapping[str, Any]) -> Request | None:
        """Queue the request of a plain call; None, and nothing is queued, if the call must go through the SDK.

        Args:
            completions: the resource whose `create` was called.
        """
        body = _plain_body(arguments) if self._takes_calls_of(completions) else None
        if body is None:
            return None
        call: Call = self._client._call()
        request = Request(
            account=call.account, endpoint=ENDPOINT, body=body, model=arguments["model"], max_retries=call.max_retries
        )
        try:
            self._client._engine.host.submit_nowait(request)
        except (anyio.WouldBlock, BatchError):
            return None
        return request

    def _takes_calls_of(self, completions: Any) -> bool:
        """Whether nothing about the client is unusual."""
        client = self._client
        return (
            type(client) is self._client_class
            and client._key is None  # a function, which the SDK asks at each call
            and bool(client.api_key)
            and type(client.max_retries) is int
            and (client.timeout == openai.DEFAULT_TIMEOUT or client._engine.ignores_timeouts)
            and not client.is_closed()
            and not _logger.isEnabledFor(logging.DEBUG)  # the SDK tells of each request then
            and can_be_skipped(client, completions, AsyncCompletions.create)
        )


_logger = logging.getLogger("openai")


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
    assert add_request_id is not None  # or nothing would have been submitted
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
