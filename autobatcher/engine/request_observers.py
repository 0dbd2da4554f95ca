"""Who is told what becomes of requests."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..errors import BatchError
    from .request import Answer, Request


class CallTrace(Protocol):
    """What a tracer is told of one request. Synchronous; raises nothing."""

    def active(self) -> AbstractContextManager[object]:
        """Within it, what is done is done for this request."""

    def event(self, name: str, **attributes: str | bool) -> None:
        """Something happened to it."""

    def end(self, request: Request) -> None:
        """It is settled, or its caller left. Can be called again."""


class FailureLog(Protocol):
    """Who tells of requests that failed for good."""

    def add(self, request: Request, outcome: Answer | BatchError, reason: str | None = None) -> None:
        """Take one, and set its `failure`."""
