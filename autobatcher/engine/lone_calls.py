"""Notices a loop that awaits one call after the other, so that each waits for a batch of its own."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable

import anyio

from .event_loop import current_caller
from .request import Request
from .settings import Settings
from .tally import Tally

logger: logging.Logger = logging.getLogger("autobatcher")

IN_A_ROW = 3
"""So many batches of one call, awaited by one task or thread one after the other, are no accident."""

GAP_SECONDS = 2.0
"""How soon after an answer a loop makes its next call. A server with little to do gets its requests at any time."""

LEAST_SECONDS = 0.1
"""An answer that comes sooner was stored in a journal."""


class LoneCalls:
    """Warns once, in the log, of a client that is used like this.

    A log line and no warning: programs and their tests turn warnings into exceptions, and here calls were paid for.
    """

    def __init__(self) -> None:
        self._is_told = False
        self._in_a_row = 0
        self._count = -1  # of all requests, with the last lone one
        self._asked_at = 0.0
        self._caller: Callable[[], object] = object

    def ask(self, request: Request, tally: Tally, settings: Settings) -> None:
        """A task makes this call, and waits for its answer at once. Call it before the request is queued."""
        if tally.waiting or self._is_told or _is_meant_so(request, settings):
            return
        caller, now = current_caller(), anyio.current_time()
        waited = tally.idle_since - self._asked_at
        is_fresh = waited >= max(settings.batch_window_seconds, LEAST_SECONDS)
        self._in_a_row = self._in_a_row + 1 if is_fresh and self._follows(caller, now, tally) else 0
        self._caller, self._count, self._asked_at = weakref.ref(caller), tally.requests + 1, now
        if self._in_a_row >= IN_A_ROW:
            self._is_told = True
            self._warn()

    def _follows(self, caller: object, now: float, tally: Tally) -> bool:
        """Whether the last call was as lonely, got its answer from a batch, and its caller is back at once."""
        return (
            self._count == tally.requests
            and self._caller() is caller
            and tally.last_lane == "batch"
            and now - tally.idle_since <= GAP_SECONDS
        )

    def _warn(self) -> None:
        logger.warning(
            "autobatcher: %d batches in a row had a single call, because each call was awaited before the next one was "
            "made. So each waits for a whole batch. Make calls at the same time: with asyncio.gather(), in a task "
            "group (trio: a nursery), with client.map(), or with BatchOpenAISync in many threads. If each call needs "
            "the answer of the one before, run many such chains at the same time.",
            IN_A_ROW,
        )


def _is_meant_so(request: Request, settings: Settings) -> bool:
    """Whether batches of one call are what the user asked for."""
    return settings.batch_size == 1 or settings.deadline is not None or request.terms.deadline is not None
