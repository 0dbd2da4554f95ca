"""The calls without a client, and when each is given up. No clock, and no step looks at all of them."""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from .pending_call import PendingCall

_FEW = 1_000


class Expiration(NamedTuple):
    """When a call is looked at again.

    Attributes:
        moment: on the event loop's clock.
        number: its place among those of one moment.
        seconds_left: how long the call is kept after that.
        call: whose it is.
    """

    moment: float
    number: int
    seconds_left: float
    call: PendingCall


class Expirations:
    """Calls that expire: each at one moment, the last one that was said."""

    def __init__(self) -> None:
        self._heap: list[Expiration] = []  # some are of calls that do not expire any more, or later
        self._numbers: dict[PendingCall, int] = {}  # of the one that counts
        self._answered: OrderedDict[PendingCall, None] = OrderedDict()  # a dict is slow to tell its first key
        self._delivered: OrderedDict[PendingCall, None] = OrderedDict()  # those of them that a client has got
        self._counter = count()

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, call: PendingCall) -> bool:
        return call in self._numbers

    @property
    def next_moment(self) -> float:
        """When to look next; infinite for never."""
        return self._heap[0].moment if self._heap else math.inf

    @property
    def answered_count(self) -> int:
        """Number of calls that have an answer."""
        return len(self._answered)

    @property
    def oldest_answered(self) -> PendingCall | None:
        """The call that has had an answer for the longest time; None if none has one."""
        return next(iter(self._answered), None)

    @property
    def oldest_delivered(self) -> PendingCall | None:
        """The one of them whose answer a client has got for the longest time; None if none has."""
        return next(iter(self._delivered), None)

    def add(self, call: PendingCall, moment: float, seconds_left: float) -> None:
        """The call is to be looked at then, and not before."""
        number = self._numbers[call] = next(self._counter)
        heapq.heappush(self._heap, Expiration(moment, number, seconds_left, call))
        if call.request.is_settled:
            self._answered.setdefault(call)
        if call.was_delivered:
            self._delivered.setdefault(call)
        self._forget_old()

    def answered(self, call: PendingCall) -> None:
        """The call has an outcome now."""
        if call in self._numbers:
            self._answered.setdefault(call)

    def discard(self, call: PendingCall) -> None:
        """The call has a client again, or is over."""
        self._numbers.pop(call, None)
        self._answered.pop(call, None)
        self._delivered.pop(call, None)

    def keep_all(self) -> None:
        """No call expires any more, of those that are here. They are still without a client."""
        self._heap.clear()

    def due(self, now: float) -> Iterator[Expiration]:
        """Yield, and remove, what is to be looked at by `now`. The calls go on to expire until `discard`."""
        while self._heap and self._heap[0].moment <= now:
            expiration = heapq.heappop(self._heap)
            if self._counts(expiration):
                yield expiration

    def _counts(self, expiration: Expiration) -> bool:
        return self._numbers.get(expiration.call) == expiration.number

    def _forget_old(self) -> None:
        """A client that comes and goes leaves one behind each time, and each holds a call with its body."""
        if len(self._heap) > 2 * len(self._numbers) + _FEW:
            self._heap = [expiration for expiration in self._heap if self._counts(expiration)]
            heapq.heapify(self._heap)
