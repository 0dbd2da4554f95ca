"""Calls from being asked to having an outcome, without a task for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from math import ceil
from typing import Generic, TypeVar

import anyio

from ..engine.hosting import Host
from ..engine.request import Answer, Request
from ..errors import BatchError, BudgetExceededError

T = TypeVar("T")

OUTCOMES_AWAITED = 0.25
"""So much of the calls under way must have outcomes before one is tried again that a cap had no room for.

Where results trickle in, each would make room for a batch of one line otherwise.
"""


class CallUnderWay(Generic[T]):
    """One call.

    Attributes:
        index: its place among the calls, from 0.
        asked: the call as it was given.
        request: the engine's; None if the call could not become one.
        weight: how many bytes it takes of what there is room for.
        outcome: an answer of any status, or an error; None as long as there is neither.
    """

    __slots__ = ("asked", "index", "outcome", "request", "weight")

    def __init__(self, index: int, asked: T) -> None:
        self.index: int = index
        self.asked: T = asked
        self.weight: int = 0
        self.request: Request | None = None
        self.outcome: Answer | Exception | None = None

    def withdraw(self) -> None:
        """Nobody waits for the call any more. If it has an outcome, a journal keeps that."""
        if self.request is not None:
            self.request.withdraw()


class CallsUnderWay(Generic[T]):
    """All calls of one source that have no outcome yet. For one event loop.

    Args:
        make: makes the engine's request of a call. What it raises is the outcome of that call.
        hand_on: is given each call that has an outcome. Synchronous.
        ordered: whether calls are handed on in the order in which they were added.
    """

    def __init__(
        self,
        host: Host,
        make: Callable[[T], Awaitable[Request]],
        hand_on: Callable[[CallUnderWay[T]], None],
        *,
        ordered: bool,
    ) -> None:
        self._host = host
        self._make = make
        self._hand_on = hand_on
        self._count = self._settled_count = 0
        self._is_left = False
        self._has_changed: anyio.Event | None = None  # set once there is another outcome
        self._waiting: set[CallUnderWay[T]] = set()
        self._in_order: deque[CallUnderWay[T]] | None = deque() if ordered else None

    async def add(self, asked: T) -> CallUnderWay[T]:
        """Queue a call. Its errors are its outcome. Cancelled: it is gone.

        Waits while `max_queued_bytes` are queued. While a cap has no room for it and others are under way, it waits for
        `OUTCOMES_AWAITED` of those: they may cost less than is reserved for them.
        """
        call = self._new(asked)
        try:
            call.request = await self._queued(call)
        except Exception as error:
            self._settle(call, error)
        else:
            call.request.notify(partial(self._request_settled, call))
        if self._is_left:
            call.withdraw()
        return call

    def refuse(self, asked: T, error: Exception) -> None:
        """Add a call that failed already."""
        self._settle(self._new(asked), error)

    def withdraw_all(self) -> None:
        """Withdraw every call that was not handed on, and those to come. Synchronous; can be called again."""
        self._is_left = True
        waiting, self._waiting = self._waiting, set()
        if self._in_order is not None:
            self._in_order.clear()
        for call in waiting:
            call.withdraw()

    def _new(self, asked: T) -> CallUnderWay[T]:
        call = CallUnderWay(self._count, asked)
        self._count += 1
        self._waiting.add(call)
        if self._in_order is not None:
            self._in_order.append(call)
        return call

    async def _queued(self, call: CallUnderWay[T]) -> Request:
        while True:
            request = await self._make(call.asked)
            try:
                await self._host.enqueue(request)
            except BatchError as refused:
                if not self._may_fit_later(refused):
                    self._host.tell_refusal(request, refused)
                    raise
            else:
                return request
            if request.tally is not None:
                request.tally.take_back()
            await self._some_outcomes()

    async def _some_outcomes(self) -> None:
        under_way = self._count - self._settled_count
        enough = self._settled_count + ceil(under_way * OUTCOMES_AWAITED)
        while self._settled_count < enough:
            self._has_changed = anyio.Event()
            await self._has_changed.wait()

    def _may_fit_later(self, refused: BatchError) -> bool:
        has_cap = isinstance(refused, BudgetExceededError) and refused.cap is not None
        return has_cap and len(self._waiting) > 1 and not self._is_left

    def _settle(self, call: CallUnderWay[T], outcome: Answer | Exception) -> None:
        """Give a call its outcome, and hand on what can be."""
        call.outcome = outcome
        self._settled_count += 1
        if self._has_changed is not None:
            self._has_changed.set()
        if self._in_order is None:
            self._waiting.discard(call)
            self._hand_on(call)
            return
        while self._in_order and self._in_order[0].outcome is not None:
            first = self._in_order.popleft()
            self._waiting.discard(first)
            self._hand_on(first)

    def _request_settled(self, call: CallUnderWay[T]) -> None:
        assert call.request is not None
        self._settle(call, call.request.settled_as)
