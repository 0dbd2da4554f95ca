"""How many requests wait, by what they ask: for the table on the page."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import trio

from ..client.server_calls import place_of
from ..turns import Steps, in_turns
from .batch_rows import model_name
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
        self._counted: dict[Kind, Waiting] = {}

    async def refresh(self) -> None:
        """Count, unless that was done just before."""
        async with self._turn:
            if trio.current_time() < self._next_at:
                return
            begun = time.monotonic()
            self._counted = await in_turns(counted(self._calls()))
            took = time.monotonic() - begun
            self._next_at = trio.current_time() + max(LEAST_SECONDS, took / PART_OF_TIME)

    def fields(self) -> dict[str, Any]:
        """The largest kinds as JSON types."""
        shown = heapq.nlargest(SHOWN_KINDS, self._counted.items(), key=lambda item: item[1].queued + item[1].under_way)
        now = trio.current_time()
        return {
            "kinds": [_fields(kind, waiting, now) for kind, waiting in shown],
            "kinds_left_out": max(len(self._counted) - SHOWN_KINDS, 0),
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
        "model": model_name(kind.model),
        "lane": kind.lane,
        "queued": waiting.queued,
        "under_way": waiting.under_way,
        "oldest_queued_seconds": None if waiting.oldest_at is None else round(now - waiting.oldest_at, 1),
    }
