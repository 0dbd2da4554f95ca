"""The newest requests that failed, for the page: whoever looks sees which ones, and why."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import time
from typing import Any

from ..engine.request import Request
from ..printable import printable

REMEMBERED = 200

MOST_NAME_CHARACTERS = 200
"""Callers choose the names of models."""


class FailedLines:
    """Remembers them.

    Args:
        wall_clock: returns the time, in Unix seconds.
    """

    def __init__(self, wall_clock: Callable[[], float] = time) -> None:
        self._newest: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        self._wall_clock = wall_clock

    def take(self, request: Request, seconds: float) -> None:
        """Remember a request that has an outcome, if it failed for good. It waited for so many seconds."""
        failure = request.failure
        if failure is None:
            return
        self._newest.appendleft(
            {
                "time": round(self._wall_clock(), 3),
                "status": failure.status,
                "code": failure.code,
                "model": printable(request.model[:MOST_NAME_CHARACTERS]),
                "endpoint": request.endpoint,
                "message": failure.message,
                "batch_id": failure.batch_id,
                "custom_id": request.custom_id or None,
                "tries": request.tries,
                "lane": failure.lane,
            }
        )

    def fields(self) -> list[dict[str, Any]]:
        """What is remembered, as JSON types, the newest first."""
        return list(self._newest)
