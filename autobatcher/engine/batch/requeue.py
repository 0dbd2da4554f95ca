"""Requests of a batch that go into another one: because of others, for want of room, or because their batch is gone."""

from __future__ import annotations

from collections.abc import Hashable

from ...upstream.batch_state import Problem
from ..queue.queue import RequestQueue
from ..request import ErrorFor
from .pending import PendingRequests
from .upstream import UpstreamBatch


class Requeue:
    """Takes the requests of one batch back to the queue.

    Args:
        key: of the batch's kind; see `travel_key`.

    Attributes:
        lines: the custom_ids, in the order of the input file.
    """

    def __init__(self, pending: PendingRequests, upstream: UpstreamBatch, queue: RequestQueue, key: Hashable) -> None:
        self.lines: list[str] = []
        self._pending = pending
        self._upstream = upstream
        self._queue = queue
        self._key = key

    def resend(self, reason: str) -> None:
        """Whoever waits goes into a new batch, at once; that is no retry."""
        requests = self._pending.pop_all()
        if requests:
            self._queue.put_back(requests, self._key)
            self._upstream.emit_resubmitted(len(requests), reason)

    def throttle(self, retry_after: float, reason: str, error_for: ErrorFor) -> None:
        """Everyone goes back to the queue until the upstream has room; that is no failure, and no retry.

        Args:
            retry_after: how long the upstream asked us to wait.
            error_for: makes the error of those who have waited for too long.
        """
        requests, sent = self._pending.pop_all(), len(self.lines)
        given_up = self._queue.throttle(requests, self._key, sent=sent, retry_after=retry_after)
        for request in given_up:  # before anything is told: a handler's exception must leave nobody behind
            request.settle(error_for(request, self._upstream.batch_id))
        if len(given_up) < len(requests):
            self._upstream.emit_resubmitted(len(requests) - len(given_up), "the upstream has no room for them now")
        if given_up:
            self._upstream.emit_submission_failed(reason)

    def reject_lines(self, problems: tuple[Problem, ...], status_code: int) -> bool:
        """Fail the lines that are to blame, and put the others back at once; False if no line of ours is to blame."""
        lines = self.lines
        to_blame = {lines[p.line - 1]: p for p in problems if p.line and 0 < p.line <= len(lines)}
        if not to_blame:
            return False
        for custom_id, problem in to_blame.items():
            self._pending.reject(custom_id, problem, status_code, self._upstream.batch_id)
        self.resend("other lines of their batch were refused")
        return True

    def emit_resubmitted(self) -> None:
        """Tell of the requests that were taken into a later batch since this was last done."""
        count = self._pending.pop_resubmitted_count()
        if count:
            self._upstream.emit_resubmitted(count, "their failure is retryable")
