"""What the engine tells a tracer. It has none unless tracing is on; `autobatcher.tracing` makes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from ..upstream.account import Account
from ..upstream.batch_state import BatchState
from .request import Request


class BatchTrace(Protocol):
    """The trace of one batch."""

    def task(self, requests: Sequence[Request]) -> AbstractContextManager[object]:
        """The task of a batch. Its life begins now, with these requests, and ends with `over`, or with the task."""

    def step(self, name: str) -> AbstractContextManager[object]:
        """A part of its life."""

    def joined(self, request: Request) -> None:
        """A request came to it during its life."""

    def seen(self, state: BatchState) -> None:
        """The upstream told its state."""

    def polled(self, state: BatchState) -> None:
        """A poll told its state."""

    def over(self, cause: str, state: BatchState | None) -> None:
        """Its life has ended. What the task does after that is cleaning up.

        Args:
            cause: "over", "abandoned", "overdue", "failed" or "lost": see `Cause` in batch/phase.py.
        """


class Tracer(Protocol):
    """Traces the calls and the batches of one engine. Synchronous; raises nothing."""

    def now(self) -> int:
        """The time of spans, in nanoseconds."""

    def begin(self, request: Request, asked_at: int) -> None:
        """Begin the trace of a request that was queued, in the context of its caller."""

    def refused(self, request: Request, asked_at: int, error: BaseException) -> None:
        """Trace a request that was refused at once, or whose caller left before it was queued."""

    def batch(self, account: Account, endpoint: str) -> BatchTrace:
        """Return the trace of a batch that is about to begin."""

    def caller(self, headers: Mapping[str, str]) -> AbstractContextManager[object]:
        """The context of a caller who comes over HTTP. What is asked within it belongs to the caller's trace.

        Args:
            headers: names in lower case.
        """


class _NoBatchTrace:
    """The trace of a batch while tracing is off."""

    def task(self, requests: Sequence[Request]) -> AbstractContextManager[object]:
        return nullcontext()

    def step(self, name: str) -> AbstractContextManager[object]:
        return nullcontext()

    def joined(self, request: Request) -> None:
        pass

    def seen(self, state: BatchState) -> None:
        pass

    def polled(self, state: BatchState) -> None:
        pass

    def over(self, cause: str, state: BatchState | None) -> None:
        pass


NO_BATCH_TRACE: BatchTrace = _NoBatchTrace()
