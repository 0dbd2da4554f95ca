"""Returns requests of a batch to the queue: other lines were rejected, the upstream is throttling, or the batch is
gone."""

from __future__ import annotations

import itertools
from collections.abc import Hashable

from ...upstream.batch_state import Problem
from ..bisection import Bisection
from ..dispatch.dispatcher import Dispatcher
from ..queue.queue import RequestQueue
from ..request import ErrorFor, Request
from .pending import PendingRequests
from .upstream import UpstreamBatch


class Requeue:
    """Returns the requests of one batch to the queue.

    Args:
        key: the batch's `travel_key`.

    Attributes:
        lines: the custom_ids, in the order of the input file.
    """

    def __init__(
        self,
        pending: PendingRequests,
        upstream: UpstreamBatch,
        queue: RequestQueue,
        dispatcher: Dispatcher,
        key: Hashable,
    ) -> None:
        self.lines: list[str] = []
        self._dispatcher = dispatcher
        self._pending = pending
        self._upstream = upstream
        self._queue = queue
        self._key = key

    def resend(self, reason: str) -> None:
        """Put all pending requests into a new batch at once. Does not count as a retry."""
        requests = self._pending.pop_all()
        if requests:
            self._queue.put_back(requests, self._key)
            self._dispatcher.watch_all(requests)
            self._upstream.emit_resubmitted(len(requests), reason)

    def send_on(self, reason: str) -> None:
        """Send all pending requests to the next lane, since they were not executed; the patient ones into a new batch.
        Does not count as a retry."""
        requests = self._pending.pop_all()
        patient = self._dispatcher.send_on(requests, self._key, batch_id=self._upstream.batch_id, reason=reason)
        if patient:
            self._upstream.emit_resubmitted(patient, "the deadline of others in their batch was near")

    def send_hurried_on(self, reason: str) -> None:
        """Send those to the next lane that have one, since they were not executed. The others stay here."""
        requests = self._pending.pop(self._dispatcher.has_next_lane)
        self._dispatcher.send_on(requests, self._key, batch_id=self._upstream.batch_id, reason=reason)

    def may_pay_twice(self, request: Request) -> bool:
        """Whether its caller would rather pay twice, and there is another lane: a new batch would not be sooner."""
        return request.may_pay_twice and self._dispatcher.has_next_lane(request)

    def pay_twice(self) -> None:
        """Send those to the next lane whose callers would rather pay twice than miss their deadline."""
        requests = self._pending.pop(self.may_pay_twice, are_executed=True)
        reason = "it cannot be known in time whether they were executed"
        self._dispatcher.send_on(requests, self._key, batch_id=self._upstream.batch_id, reason=reason, paid_twice=True)

    def throttle(self, retry_after: float, reason: str, error_for: ErrorFor) -> None:
        """Return all pending requests to the queue until the upstream has capacity. Does not count as a retry.

        Args:
            retry_after: how long the upstream asked us to wait, in seconds.
            reason: why, if some requests have waited for too long.
            error_for: makes the error of requests that have waited for too long.
        """
        requests, sent = self._pending.pop_all(), len(self.lines)
        given_up = self._queue.throttle(requests, self._key, sent=sent, retry_after=retry_after)
        hurried = list(filter(self._dispatcher.has_next_lane, given_up))
        given_up = list(itertools.filterfalse(self._dispatcher.has_next_lane, given_up))
        for request in given_up:  # before any event, so that nothing can keep them from it
            self._pending.fail_popped(request, error_for(request, self._upstream.batch_id), reason)
        self._dispatcher.send_on(hurried, self._key, reason=reason)
        self._dispatcher.watch_all(requests)
        if waiting := len(requests) - len(given_up) - len(hurried):
            self._upstream.emit_resubmitted(waiting, "the upstream has no capacity for them now")
        if given_up:
            self._upstream.emit_submission_failed(reason)

    def halve(self) -> bool:
        """Put the pending requests into two batches, to find the line for which their upload was refused.

        False if there is nothing to halve, or if the search has cost enough.
        """
        lines = list(self._pending.requests())
        halves = (lines[0][1].bisection or Bisection(len(lines))).halves() if len(lines) > 1 else None
        if halves is None:
            return False
        requests = self._pending.pop_all()
        self._queue.halve(requests, self._key, halves)
        self._dispatcher.watch_all(requests)
        self._upstream.emit_resubmitted(len(requests), "their upload was refused, and the bad line is searched")
        return True

    def reject_lines(self, problems: tuple[Problem, ...], status_code: int) -> bool:
        """Fail the lines that the problems name, and requeue the others at once; False if they name none of ours."""
        lines = self.lines
        rejected = {lines[p.line - 1]: p for p in problems if p.line and 0 < p.line <= len(lines)}
        if not rejected:
            return False
        for custom_id, problem in rejected.items():
            self._pending.reject(custom_id, problem, status_code, self._upstream.batch_id)
        self.resend("other lines of their batch were refused")
        return True

    def emit_resubmitted(self) -> None:
        """Emit an event for requests that were resubmitted since the last call."""
        count = self._pending.pop_resubmitted_count()
        if count:
            self._upstream.emit_resubmitted(count, "their failure is retryable")
