"""Requests on the flex and real-time lanes, each in a task of its own."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

import anyio
from anyio.abc import TaskGroup

from ...errors import BatchError
from .. import outcomes
from ..lanes.lane import Lane
from ..request import Answer, ErrorFor, Request
from .headcount import Headcount

logger: logging.Logger = logging.getLogger("autobatcher")

Call = Callable[[Request, Lane], Awaitable[Answer | BatchError]]


class LaneCalls:
    """Runs a call for each request, and settles the requests.

    Args:
        call: makes one call, and returns its outcome; see `LaneCall`.
        wake: called when a call is to be started.
        on_left: called when the caller of a request leaves.

    Attributes:
        counts: how many requests of each account wait here.
    """

    batch_id: None = None

    def __init__(self, call: Call, wake: Callable[[], None], on_left: Callable[[Request], None]) -> None:
        self._call = call
        self._wake = wake
        self._on_left = on_left
        self._new: deque[tuple[Request, Lane, anyio.CancelScope]] = deque()
        self._scopes: dict[Request, anyio.CancelScope] = {}
        self._lanes: dict[Request, Lane] = {}
        self.counts: Headcount = Headcount()

    def __len__(self) -> int:
        """How many requests wait here."""
        return len(self._scopes)

    def add(self, request: Request, lane: Lane) -> None:
        """Call for `request` on that lane."""
        request.holder, request.custom_id = self, ""
        scope = self._scopes[request] = anyio.CancelScope()
        self._lanes[request] = lane
        self.counts.add(request.account)
        self._new.append((request, lane, scope))
        self._wake()

    def lane_of(self, request: Request) -> Lane:
        """The lane on which a request waits that is held here."""
        return self._lanes[request]

    def start(self, nursery: TaskGroup) -> None:
        """Start a task for each new call."""
        while self._new:
            request, lane, scope = self._new.popleft()
            if self._scopes.get(request) is scope:
                nursery.start_soon(self._run, request, lane, scope)

    def withdraw(self, request: Request) -> None:
        """The caller left: its call is cancelled. It may have been billed."""
        self._on_left(request)
        self._remove(request).cancel()

    def fail_all(self, error_for: ErrorFor) -> None:
        """Settle each request with an error of its own, and cancel its call."""
        for request in list(self._scopes):
            self._on_left(request)
            self._remove(request).cancel()
            request.settle(error_for(request, None))

    def _remove(self, request: Request) -> anyio.CancelScope:
        self.counts.add(request.account, -1)
        del self._lanes[request]
        return self._scopes.pop(request)

    async def _run(self, request: Request, lane: Lane, scope: anyio.CancelScope) -> None:
        active = nullcontext() if request.trace is None else request.trace.active()
        with scope, active:  # it may be cancelled already: the caller left before this task began
            try:
                outcome = await self._call(request, lane)
            except Exception as defect:  # the caller must not wait for ever
                logger.exception("autobatcher: a bug in the engine; please report it")
                outcome = outcomes.defect_error_for(defect)(request, None)
            if self._scopes.get(request) is scope:
                self._remove(request)
                request.settle(outcome)
            else:  # the caller left while the outcome came
                request.give_back()
