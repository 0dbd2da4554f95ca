"""The fast path of plain calls such as `chat.completions.create()`, which skips the SDK's own code.

That code costs a millisecond a call. Unusual calls go through the SDK: arguments of types that JSON does not have, a
tracer that patches the SDK, an outcome that is no 2xx answer. In the last case the SDK makes the call again and gets
the outcome as its response, so that errors are the SDK's own. `plain_method.py` says what differs between the methods.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

import anyio
import msgspec
import openai

from ..engine.hosting import Host
from ..engine.request import Answer, Request
from ..errors import BatchError
from .call import ANSWERED, Call
from .deadlines import deadline_of_call
from .plain_method import PlainMethod
from .sdk_internals import add_request_id, can_be_skipped


def with_fast_path(method: PlainMethod) -> Callable[..., Any]:
    """Make a method for a subclass of the SDK's resource, which has its `FastPath` as `_fast_path`."""

    @wraps(method.sdks_own)
    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        request = None if args else self._fast_path.submit(method, self, kwargs)
        if request is None:
            return await method.sdks_own(self, *args, **kwargs)
        if isinstance(request, BatchError):
            with answered_with(request):
                return await method.sdks_own(self, **kwargs)
        kept = method.kept(kwargs)
        del kwargs
        outcome = await self._fast_path.enqueue(request) if not request.is_queued else None
        if outcome is None:
            try:
                await request.wait()
            except BaseException:
                request.withdraw()
                raise
            outcome = request.settled_as
        answer = answer_of(method, outcome, kept)
        if answer is not None:
            return answer
        with answered_with(outcome):
            return await method.sdks_own(self, **method.arguments(request.body, kept))

    return call


class FastPath:
    """The fast path of one client.

    Args:
        client_class: the class whose clients may use it. Subclasses may override anything, so they go through the SDK.
    """

    def __init__(self, client: Any, client_class: type) -> None:
        self._client = client
        self._client_class: Any = client_class

    def submit(self, method: PlainMethod, resource: Any, arguments: Mapping[str, Any]) -> Request | BatchError | None:
        """Queue the request of a plain call, or return why it is refused.

        None if the call must go through the SDK; then nothing was queued.

        Where the queue is full, it returns a request that is not queued yet: `enqueue` waits for room.

        Args:
            resource: that whose method was called.
        """
        fields = _fields(method, arguments) if self._takes_calls_of(method, resource) else None
        body = None if fields is None else _body(fields)
        if fields is None or body is None:
            return None
        call: Call = self._client._call()
        try:
            deadline = deadline_of_call(call.deadline_header)
        except BatchError as error:
            return error
        request = Request(
            account=call.account,
            endpoint=method.endpoint,
            body=body,
            model=fields["model"],
            embedding_inputs=method.input_count(fields),
            max_retries=call.max_retries,
            deadline=deadline,
        )
        host: Host = self._client._engine.host
        try:
            host.submit_nowait(request, is_awaited=True)
        except anyio.WouldBlock:
            pass
        except BatchError as error:
            host.tell_refusal(request, error)
            return error
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

    def _takes_calls_of(self, method: PlainMethod, resource: Any) -> bool:
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
            and can_be_skipped(client, resource, method.owner, method.name)
        )


_logger = logging.getLogger("openai")


def _fields(method: PlainMethod, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        return method.fields(arguments)
    except RecursionError:  # a list that contains itself
        return None


def _body(fields: dict[str, Any]) -> bytes | None:
    """The body of a plain call; None if it has no JSON."""
    try:
        return _to_json(fields)
    # A lone surrogate; a number that is too large; a list that contains itself.
    except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return None


_to_json = msgspec.json.Encoder().encode


def answer_of(method: PlainMethod, outcome: Answer | BatchError, kept: Any) -> Any:
    """What the method returns for a 2xx answer; None if the SDK must be asked.

    Raises what the SDK raises of a good answer.
    """
    if not isinstance(outcome, Answer) or not 200 <= outcome.status_code < 300:
        return None
    answer = method.answer(outcome.body, kept)
    if answer is not None:
        assert add_request_id is not None  # otherwise the fast path was not taken
        add_request_id(answer, outcome.request_id)
    return answer


@contextmanager
def answered_with(outcome: Answer | BatchError) -> Iterator[None]:
    """Within this context a call through the SDK gets `outcome` as its response."""
    token = ANSWERED.set(outcome)
    try:
        yield
    finally:
        ANSWERED.reset(token)
