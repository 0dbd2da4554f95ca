"""`client.map`: many calls, each result as it comes or in order."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol, Self, TypeVar

from ..engine.admission import check_provider_takes
from ..engine.recovery.deliveries import Deliveries
from ..engine.request import Answer, Request
from ..errors import BatchError
from .batchable import batch_request
from .call import Call
from .calls_under_way import CallUnderWay
from .checked_body import checked_body
from .costs import Billed, Priced, billed
from .deadlines import deadline_of_call
from .map_bodies import AHEAD, CHAT, body_of, check_map
from .read_ahead import ReadAhead
from .replay import answer_to

RawCallT = TypeVar("RawCallT", bound="RawCall")


@dataclass(frozen=True, slots=True)
class MapResult:
    """The result of one call of `map`.

    Attributes:
        index: the place of the call among all calls, from 0.
        input: the arguments of the call, as they were given.
        answer: the SDK's model of the answer; None if the call failed.
        exception: what the call would have raised; None if it was answered.
    """

    index: int
    input: Mapping[str, Any]
    answer: Any = None
    exception: Exception | None = None
    _billed: Billed | Priced | None = field(default=None, repr=False, compare=False)

    @property
    def cost(self) -> Decimal | None:
        """What the answer was billed, in USD; None if its price or its tokens are unknown, or if the call failed.

        The first one may block for up to a second, as `client.receipt` does.
        """
        return None if self._billed is None else self._billed.cost()


class ManyCalls:
    """What `BatchOpenAI` has for many calls at once."""

    _engine: Any

    def map(
        self,
        calls: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]],
        endpoint: str = CHAT,
        *,
        ordered: bool = False,
        ahead: int = AHEAD,
    ) -> CallMap:
        """Make many calls, and give each result as it comes.

        At most `ahead` calls are between `calls` and the loop, so memory does not grow with their number. Leaving the
        loop withdraws the rest.

            async for result in client.map(calls):
                print(result.index, result.exception or result.answer)

        Args:
            calls: an iterable or async iterable, endless ones too, of dicts with the arguments of each call.
            endpoint: of all calls, such as "/v1/embeddings".
            ordered: give results in the order of the calls; one that is late holds up those behind it.
            ahead: how many calls may be under way, or have a result that the loop has not taken.

        Raises:
            TypeError, ValueError: at once, naming the parameter. What goes wrong with a call is in its result. What
                `calls` raises comes out of the loop, after the results of the calls before.

        Cancelled: the calls without a result are withdrawn, as described at `BatchOpenAI`.
        """
        return CallMap(self, calls, endpoint=endpoint, ordered=ordered, ahead=ahead)

    def flush(self) -> None:
        """Close the open windows now: what is queued leaves without waiting for more. Synchronous."""
        self._engine.host.flush()


class CallMap(AsyncIterator[MapResult]):
    """The results of `BatchOpenAI.map`. Leaving the loop over it withdraws all calls that have no result yet.

    So does `aclose`, the end of an `async with` block, and letting go of it.
    """

    def __init__(
        self,
        client: Any,
        calls: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]],
        *,
        endpoint: str,
        ordered: bool,
        ahead: int,
    ) -> None:
        self._endpoint = endpoint
        self._client = client
        check_map(endpoint, ahead, calls)

        async def make(arguments: Mapping[str, Any]) -> Request:
            return await request_of(client._call(), endpoint, body_of(arguments))

        self._calls = ReadAhead(client._engine.host, make, calls, ordered=ordered, ahead=ahead)

    def __aiter__(self) -> AsyncIterator[MapResult]:
        return _Loop(self)

    async def __anext__(self) -> MapResult:
        """The next result.

        Raises:
            what the source of the calls raised, after the results of all calls before.

        Cancelled: all calls that have no result yet are withdrawn.
        """
        for call in await self._calls.next():
            return result_of(call, self._endpoint, self._client)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Withdraw all calls that have no result yet, and read no more."""
        await self._calls.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it was refused at construction
            self._calls.leave_soon()


class _Loop(AsyncIterator[MapResult]):
    """One `async for` over a `CallMap`. When the loop is left, nothing holds it any more."""

    def __init__(self, results: CallMap) -> None:
        self._results = results

    def __anext__(self) -> Any:
        return self._results.__anext__()

    def __del__(self) -> None:
        self._results._calls.leave_soon()


def result_of(call: CallUnderWay[Mapping[str, Any]], endpoint: str, client: Any) -> MapResult:
    """The result of a call that has an outcome, as that client of the SDK would tell it."""
    outcome = call.outcome
    if not isinstance(outcome, Answer | BatchError):
        return MapResult(call.index, call.asked, exception=outcome)
    try:
        answer = answer_to(endpoint, outcome, str(client.base_url))
    except Exception as error:
        return MapResult(call.index, call.asked, exception=error)
    return MapResult(call.index, call.asked, answer, _billed=billed(client, call.request, outcome))


class RawCall(Protocol):
    """A call whose body is made already."""

    @property
    def endpoint(self) -> str: ...
    @property
    def body(self) -> bytes: ...


def read_ahead(
    client: Any, calls: Iterable[RawCallT], *, ordered: bool, ahead: int, ahead_bytes: float
) -> ReadAhead[RawCallT]:
    """Many calls of one of our async clients; see `ReadAhead`."""

    options = client._call()

    async def make(call: RawCallT) -> Request:
        return await request_of(options, call.endpoint, call.body)

    return ReadAhead(client._engine.host, make, calls, ordered=ordered, ahead=ahead, ahead_bytes=ahead_bytes)


def deliveries_of(client: Any) -> Deliveries | None:
    """For those who keep answers themselves; None without a journal."""
    found: Deliveries | None = client._engine.host.deliveries
    return found


def check_raw(client: Any, call: RawCall, completion_window: str) -> None:
    """Check whether the client's provider takes such a call. Raises `UnbatchableRequestError`."""
    check_provider_takes(batch_request(client._call().account, call.endpoint, call.body), completion_window)


async def request_of(call: Call, endpoint: str, body: bytes) -> Request:
    """The engine's request of a call with this body. Raises as `batch_request` does."""
    return batch_request(
        call.account,
        endpoint,
        body,
        digested=await checked_body(endpoint, body),
        max_retries=call.max_retries,
        deadline=deadline_of_call(call.deadline_header),
    )
