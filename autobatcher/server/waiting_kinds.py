"""How many requests wait, by what they ask: for the table on the page."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import trio

from ..client.places import place_of
from ..printable import printable
from ..progress import MODEL_LENGTH, shortened
from ..turns import Steps, in_turns
from .pending_call import PendingCall

SHOWN_KINDS = 20

AT_ONCE = 500
"""Calls that are counted in one step. It takes a millisecond."""

LEAST_SECONDS, PART_OF_TIME = 1.0, 0.02
"""How often they are counted at most, and how much of the time that may take."""


class Kind(NamedTuple):
    """What requests have in common that wait alike."""

    endpoint: str
    model: str
    lane: str


@dataclass(slots=True)
class Waiting:
    """Requests of a kind, and when the oldest one of the queued came, on the event loop's clock."""

    queued: int = 0
    under_way: int = 0
    oldest_at: float | None = None

    @property
    def total(self) -> int:
        return self.queued + self.under_way

    def take(self, *, is_queued: bool, created_at: float) -> None:
        if is_queued:
            self.queued += 1
            self.oldest_at = created_at if self.oldest_at is None else min(self.oldest_at, created_at)
        else:
            self.under_way += 1


class WaitingKinds:
    """The kinds of requests that wait. They are counted when somebody looks, while other tasks run, too.

    Args:
        calls: returns the calls of now.
    """

    def __init__(self, calls: Callable[[], list[PendingCall]]) -> None:
        self._calls = calls
        self._turn = trio.Lock()
        self._next_at = float("-inf")
        self._shown: list[tuple[Kind, Waiting]] = []
        self._left_out = 0

    async def refresh(self) -> None:
        """Count, unless that was done just before."""
        async with self._turn:
            if trio.current_time() < self._next_at:
                return
            begun = time.monotonic()
            found = await in_turns(counted(self._calls()))
            self._shown = heapq.nlargest(SHOWN_KINDS, found.items(), key=lambda item: item[1].total)
            self._left_out = len(found) - len(self._shown)
            took = time.monotonic() - begun
            self._next_at = trio.current_time() + max(LEAST_SECONDS, took / PART_OF_TIME)

    def fields(self) -> dict[str, Any]:
        """The largest kinds as JSON types."""
        now = trio.current_time()
        return {
            "kinds": [_fields(kind, waiting, now) for kind, waiting in self._shown],
            "kinds_left_out": self._left_out,
        }


def counted(calls: list[PendingCall]) -> Steps[dict[Kind, Waiting]]:
    """Those of these calls that have no outcome yet, by kind."""
    found: dict[Kind, Waiting] = {}
    for number, call in enumerate(calls, 1):
        request = call.request
        if (place := place_of(request)) is not None:
            kind = Kind(request.endpoint, request.model, place.lane)
            if (waiting := found.get(kind)) is None:
                waiting = found[kind] = Waiting()
            waiting.take(is_queued=place.is_queued, created_at=call.created_at)
        if number % AT_ONCE == 0:
            yield
    return found


def _fields(kind: Kind, waiting: Waiting, now: float) -> dict[str, Any]:
    return {
        "endpoint": kind.endpoint,
        "model": printable(shortened(kind.model, MODEL_LENGTH)),
        "lane": kind.lane,
        "queued": waiting.queued,
        "under_way": waiting.under_way,
        "oldest_queued_seconds": None if waiting.oldest_at is None else round(now - waiting.oldest_at, 1),
    }
