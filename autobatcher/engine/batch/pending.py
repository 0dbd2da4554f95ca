"""The requests of one batch that have no outcome yet: the one place where they are settled. Synchronous."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import anyio

from ...errors import BatchError
from ...upstream.batch_state import Problem
from ...upstream.jsonl import OutputLine
from .. import outcomes
from ..recovery.batch_log import NULL_BATCH_LOG, BatchLog
from ..request import Answer, ErrorFor, Request

Resubmit = Callable[[Request], bool]


class PendingRequests:
    """Who still waits for a line of a batch.

    Each request in here gets its outcome by being taken out, so that no request can get two.

    Args:
        resubmit: takes a request that failed in passing into a later batch; False if it may not, or there is none.
        log: is told of what becomes of lines.

    Attributes:
        batch_id: the upstream's; None until there is one.
        answers_only: lines that got none are not settled by what is said of them: they go into another batch.
        abandoned: set once nobody waits any more, although lines of callers who left may still run.
    """

    def __init__(self, requests: dict[str, Request], resubmit: Resubmit, log: BatchLog = NULL_BATCH_LOG) -> None:
        self.abandoned: anyio.Event = anyio.Event()
        self.batch_id: str | None = None
        self.answers_only: bool = False
        self._requests = requests
        self._resubmit = resubmit
        self._log = log
        self._has_lost_callers = False
        self._resubmitted = 0
        for custom_id, request in requests.items():
            request.custom_id = custom_id
            request.holder = self

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def wants_lines(self) -> bool:
        """Whether there is a line to be read, for somebody who waits or, if a journal keeps it, for who will come."""
        return bool(self._requests) or self._log.wants_lines

    def requests(self) -> Iterable[tuple[str, Request]]:
        """A copy of what is in here now: custom_ids and requests."""
        return tuple(self._requests.items())

    def withdraw(self, request: Request) -> None:
        """A caller is gone; its line, if it was sent, is nobody's."""
        del self._requests[request.custom_id]
        self._log.caller_left(request)
        self._has_lost_callers = True
        self._check_abandonment()

    def attach(self, custom_id: str, request: Request) -> None:
        """A caller wants that line of the batch, which nobody waited for."""
        self._requests[custom_id] = request
        request.custom_id, request.holder = custom_id, self
        self._log.caller_attached(custom_id)
        if self.abandoned.is_set():
            self.abandoned = anyio.Event()

    def deliver(self, line: OutputLine, batch_id: str) -> None:
        """Hand a line to the caller it belongs to. Unknown and repeated lines belong to nobody."""
        outcome = outcomes.line_outcome(line, batch_id)
        if self.answers_only and not isinstance(outcome, Answer):
            return
        if line.custom_id in self._requests:
            self._settle(line.custom_id, outcome)
        elif self._log.wants_lines:
            self._log.unclaimed_result(line.custom_id, outcome)
            self._check_abandonment()

    def reject(self, custom_id: str, problem: Problem, status_code: int, batch_id: str | None) -> None:
        """The upstream will not have this line. (Its caller may have left.)"""
        if custom_id in self._requests:
            self._settle(custom_id, outcomes.rejected_line(problem, status_code, custom_id, batch_id))

    def pop_all(self) -> list[Request]:
        """Take out everyone who still waits: they go into another batch."""
        requests = list(self._requests.values())
        for custom_id in self._requests:
            self._log.line_dropped(custom_id)
        self._requests.clear()
        self._check_abandonment()
        return requests

    def pop_resubmitted_count(self) -> int:
        """How many requests were taken into a later batch since this was last asked."""
        count, self._resubmitted = self._resubmitted, 0
        return count

    def fail_all(self, error_for: ErrorFor, batch_id: str | None) -> None:
        """Give everyone who still waits an error of their own."""
        for custom_id, request in self.requests():
            self._settle(custom_id, error_for(request, batch_id))

    def _settle(self, custom_id: str, outcome: Answer | BatchError) -> None:
        request = self._requests[custom_id]
        if outcomes.is_retryable(outcome) and self._resubmit(request):
            self._resubmitted += 1
            del self._requests[custom_id]
            self._log.line_dropped(custom_id)
        else:
            del self._requests[custom_id]
            self._log.settled(request, outcome)
            request.settle(outcome)
        self._check_abandonment()

    def _check_abandonment(self) -> None:
        if self._has_lost_callers and not self._requests and not self._log.awaits_callers:
            self.abandoned.set()
