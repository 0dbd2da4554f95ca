"""Who is told what becomes of requests. They are `Any` here: `Request` knows its observers, and not they it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol


class CallTrace(Protocol):
    """What a tracer is told of one request. Synchronous; raises nothing."""

    def active(self) -> AbstractContextManager[object]:
        """Within it, what is done is done for this request."""

    def event(self, name: str, **attributes: str | bool) -> None:
        """Something happened to it."""

    def end(self, request: Any) -> None:
        """It is settled, or its caller left. Can be called again."""


class FailureLog(Protocol):
    """Who tells of requests that failed for good."""

    def add(self, request: Any, outcome: Any, reason: str | None = None) -> None:
        """Take one, and set its `failure`."""
