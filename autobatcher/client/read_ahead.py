"""Calls read from a source while there is room, and handed on as they get outcomes, in one event loop."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextvars import copy_context
from typing import Generic, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from ..engine.event_loop import call_soon, running_loop, start_in_background
from ..engine.hosting import AT_END_SECONDS, Host
from ..engine.request import Request
from ..errors import ClientClosedError
from .calls_under_way import CallsUnderWay, CallUnderWay

T = TypeVar("T")

READ_AT_ONCE = 50
"""Calls to read from a plain iterable before other tasks may run."""


class ReadAhead(Generic[T]):
    """The calls of a source, each with its outcome. One background task reads the source; no call has a task.

    Args:
        calls: any iterable or async iterable. What it raises comes after all outcomes of the calls before.
        ahead: the most calls between the source and the consumer.
        ahead_bytes: the most bytes of their bodies; one larger call goes alone.
        Everything else as for `CallsUnderWay`.
    """

    def __init__(
        self,
        host: Host,
        make: Callable[[T], Awaitable[Request]],
        calls: Iterable[T] | AsyncIterable[T],
        *,
        ordered: bool,
        ahead: int,
        ahead_bytes: float = math.inf,
    ) -> None:
        self._host = host
        self._source = calls
        self._ahead = ahead
        self._ahead_bytes = ahead_bytes
        self._calls: CallsUnderWay[T] = CallsUnderWay(host, make, self._take, ordered=ordered)
        self._ready: deque[CallUnderWay[T]] = deque()
        self._count = self._bytes = 0  # between the source and the consumer
        self._context = copy_context()
        self._loop: object = None
        self._scope: anyio.CancelScope | None = None
        self._has_room: anyio.Event | None = None
        self._has_news: anyio.Event | None = None
        self._ended: anyio.Event | None = None  # of the background task; None before it
        self._failure: BaseException | None = None
        self._is_read = self._is_left = False

    async def next(self, most: int = 1) -> list[CallUnderWay[T]]:
        """Wait for calls with outcomes and return up to `most` of them; none if there are no more.

        Raises:
            what the source raised, after all outcomes.

        Cancelled: all calls that were not returned are withdrawn.
        """
        try:
            self._start()
            while not self._ready and not self._is_over:
                self._has_news = _fresh(self._has_news)
                await self._has_news.wait()
        except BaseException:
            self.leave()
            raise
        if not self._ready and self._failure is not None and not self._is_left:
            self._is_left = True
            raise self._failure
        return [self._hand_out() for _ in range(min(most, len(self._ready)))]

    def delivered(self, calls: Iterable[CallUnderWay[T]]) -> None:
        """Let the journal forget the answers to these calls: they are safe elsewhere. Synchronous."""
        if self._host.deliveries is not None:
            self._host.deliveries.delivered(call.request for call in calls if call.request is not None)

    def leave(self) -> None:
        """Read no more, and withdraw all calls that were not returned. Synchronous; can be called again."""
        self._is_left = self._is_read = True
        if self._scope is not None:
            self._scope.cancel()
        self._calls.withdraw_all()
        while self._ready:
            self._ready.popleft().withdraw()
        self._tell_news()

    def leave_soon(self) -> None:
        """`leave`, at any moment and in any thread, as when the garbage collector runs."""
        if self._loop is not None and not self._is_left and not (self._is_over and not self._ready):
            call_soon(self._loop, self.leave)

    async def aclose(self) -> None:
        """`leave`, and wait for the task that reads. Cancelled: it ends all the same."""
        self.leave()
        if self._ended is not None:
            with anyio.move_on_after(AT_END_SECONDS, shield=True):
                await self._ended.wait()

    @property
    def _is_over(self) -> bool:
        """Whether no more calls will be ready."""
        return self._is_left or (self._is_read and self._count == 0)

    def _start(self) -> None:
        if self._ended is None and not self._is_left:
            self._loop, self._ended, self._scope = running_loop(), anyio.Event(), anyio.CancelScope()
            start_in_background(self._read, name="autobatcher map", at_end=self._end, context=self._context)

    async def _read(self) -> None:
        assert self._scope is not None
        try:
            with self._scope:
                await self._read_all()
                self._is_read = True
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: ASYNC103  (the consumer raises it)
            self._failure, self._is_read = error, True
        finally:
            self._end()

    async def _read_all(self) -> None:
        source = _as_async(self._source)
        while not self._is_left:  # a cancellation comes only where this waits
            await self._wait_for_room()
            try:
                asked = await anext(source)
            except StopAsyncIteration:
                return
            self._count += 1
            call = await self._calls.add(asked)
            if call.request is not None:
                call.weight = len(call.request.body)
                self._bytes += call.weight

    async def _wait_for_room(self) -> None:
        while self._count >= self._ahead or (self._count and self._bytes >= self._ahead_bytes):
            self._has_room = _fresh(self._has_room)
            await self._has_room.wait()

    def _end(self) -> None:
        """The background task has ended, perhaps before its first step or its last one."""
        assert self._ended is not None
        if not self._is_read:
            self._failure, self._is_read = ClientClosedError("The event loop ended before all calls were read."), True
        self._ended.set()
        self._tell_news()

    def _take(self, call: CallUnderWay[T]) -> None:
        self._ready.append(call)
        self._tell_news()

    def _hand_out(self) -> CallUnderWay[T]:
        call = self._ready.popleft()
        self._count -= 1
        self._bytes -= call.weight
        if self._has_room is not None:
            self._has_room.set()
        return call

    def _tell_news(self) -> None:
        if self._has_news is not None:
            self._has_news.set()


def _fresh(event: anyio.Event | None) -> anyio.Event:
    """The event if others wait for it, else a new one."""
    return anyio.Event() if event is None or event.is_set() else event


def _as_async(calls: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    return aiter(calls) if isinstance(calls, AsyncIterable) else _InTurns(iter(calls))


class _InTurns(AsyncIterator[T]):
    """A plain iterator. (An async generator would need to be closed.)"""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._count = 0

    async def __anext__(self) -> T:
        self._count += 1
        if self._count % READ_AT_ONCE == 0:
            await checkpoint()
        for item in self._items:
            return item
        raise StopAsyncIteration
