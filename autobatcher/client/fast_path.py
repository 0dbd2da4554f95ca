"""The fast path of a plain `chat.completions.create()`, which skips the SDK's own code.

That code costs a millisecond a call. Unusual calls go through the SDK: arguments of types that JSON does not have, a
tracer that patches the SDK, an outcome that is no 2xx answer. In the last case the SDK makes the call again and gets
the outcome as its response, so that errors and lenient models are the SDK's own.
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

from ..engine.hosting import Host
from ..engine.request import Answer, Request
from ..errors import BatchError
from .batchable import LONGEST_MODEL_NAME
from .call import ANSWERED, Call
from .deadlines import deadline_of_call
from .sdk_internals import add_request_id, can_be_skipped

ENDPOINT = "/v1/chat/completions"


class FastPath:
    """The fast path of one client.

    Args:
        client_class: the class whose clients may use it. Subclasses may override anything, so they go through the SDK.
    """

    def __init__(self, client: Any, client_class: type) -> None:
        self._client = client
        self._client_class: Any = client_class

    def submit(self, completions: Any, arguments: Mapping[str, Any]) -> Request | None:
        """Queue the request of a plain call. None if the call must go through the SDK; then nothing was queued.

        Where the queue is full, it returns a request that is not queued yet: `enqueue` waits for room.

        Args:
            completions: the resource whose `create` was called.
        """
        body = _plain_body(arguments) if self._takes_calls_of(completions) else None
        if body is None:
            return None
        call: Call = self._client._call()
        try:
            request = Request(
                account=call.account,
                endpoint=ENDPOINT,
                body=body,
                model=arguments["model"],
                max_retries=call.max_retries,
                deadline=deadline_of_call(call.deadline_header),
            )
            self._client._engine.host.submit_nowait(request, is_awaited=True)
        except anyio.WouldBlock:
            return request
        except BatchError:
            return None
        return request

    async def enqueue(self, request: Request) -> BatchError | None:
        """Wait until there is room for a request, and queue it. Returns why it was refused; None if it was queued.

        Cancelled: it was not queued.
        """
        host: Host = self._client._engine.host
        try:
            await host.enqueue(request)
        except BatchError as error:
            host.tell_refusal(request, error)
            return error
        return None

    def _takes_calls_of(self, completions: Any) -> bool:
        """Whether the client has no options that only the SDK's own code handles."""
        client = self._client
        return (
            type(client) is self._client_class
            and client._key is None  # the SDK calls a key function for each request
            and bool(client.api_key)
            and type(client.max_retries) is int
            and (client.timeout == openai.DEFAULT_TIMEOUT or client._engine.ignores_timeouts)
            and not client.is_closed()
            and not _logger.isEnabledFor(logging.DEBUG)  # the SDK logs each request then
            and can_be_skipped(client, completions, AsyncCompletions.create)
        )


_logger = logging.getLogger("openai")


def _plain_body(arguments: Mapping[str, Any]) -> bytes | None:
    """The body of a plain call; None for any other call."""
    try:
        fields = _plain_fields(arguments)
        return None if fields is None else _to_json(fields)
    # A lone surrogate; a number that is too large; a list that contains itself.
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
    is_named = type(model) is str and 0 < len(model) <= LONGEST_MODEL_NAME
    is_plain = is_named and "messages" in fields and fields.get("stream", False) is False
    return fields if is_plain else None


def _is_json(value: Any) -> bool:
    """Whether a value consists of exact JSON types. The SDK converts subclasses and other types."""
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
    """Validate a 2xx answer into a model; None if that needs the SDK's lenient construction.

    The model equals the SDK's and dumps the same. Only `model_fields_set` differs: it includes unknown fields.
    """
    if not isinstance(outcome, Answer) or not 200 <= outcome.status_code < 300:
        return None
    try:
        completion: ChatCompletion = _validated(outcome.body, strict=True)
    except ValidationError:
        return None
    assert add_request_id is not None  # otherwise the fast path was not taken
    add_request_id(completion, outcome.request_id)
    return completion


_validated = ChatCompletion.__pydantic_validator__.validate_json


def arguments_of(request: Request) -> dict[str, Any]:
    """Decode the arguments of `request` from its body. They are not kept while it waits: they are as large."""
    arguments: dict[str, Any] = msgspec.json.decode(request.body)
    return arguments


@contextmanager
def answered_with(outcome: Answer | BatchError) -> Iterator[None]:
    """Within this context a call through the SDK gets `outcome` as its response."""
    token = ANSWERED.set(outcome)
    try:
        yield
    finally:
        ANSWERED.reset(token)
