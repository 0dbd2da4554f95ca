"""The requests of one batch that have no outcome yet. They are settled here and nowhere else. Synchronous."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import anyio

from ...errors import BatchEndedError, BatchError
from ...money.ledger import Charge
from ...upstream.batch_state import Problem
from ...upstream.output_line import OutputLine
from .. import money_outcomes, outcomes
from ..lanes.lane import Lane
from ..recovery.batch_log import NULL_BATCH_LOG, BatchLog
from ..request import Answer, ErrorFor, Request
from ..request_observers import FailureLog
from ..spending import Spending
from ..tracer import NO_BATCH_TRACE, BatchTrace
from .billing import BatchBilling

Resubmit = Callable[[Request], bool]


class PendingRequests:
    """The requests that wait for lines of a batch.

    Settling a request removes it first, so no request can get two outcomes.

    Args:
        resubmit: adds a request that failed with a retryable error to a later batch; False if it cannot.
        billing: books them.
        log: records what becomes of lines.
        failures: tells of those that fail; None for who tells of each request.

    Attributes:
        batch_id: the upstream's; None until there is one.
        may_be_executed: if True, requests that are sent again may have been executed, and billed, in this batch.
        answers_only: if True, error lines settle nothing, because their requests go into another batch.
        trace: is told who comes to the batch.
        abandoned: set once no caller waits any more although lines of callers who left may still run.
    """

    def __init__(
        self,
        requests: dict[str, Request],
        resubmit: Resubmit,
        billing: BatchBilling,
        log: BatchLog = NULL_BATCH_LOG,
        failures: FailureLog | None = None,
    ) -> None:
        self.abandoned: anyio.Event = anyio.Event()
        self.batch_id: str | None = None
        self.may_be_executed: bool = False
        self.answers_only: bool = False
        self.trace: BatchTrace = NO_BATCH_TRACE
        self._requests = requests
        self._resubmit = resubmit
        self._billing = billing
        self._log = log
        self._failures = failures
        self._has_lost_callers = False
        self._resubmitted = 0
        for custom_id, request in requests.items():
            request.custom_id = custom_id
            request.holder = self
            request.sent(Lane.BATCH)

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, custom_id: str) -> bool:
        return custom_id in self._requests

    @property
    def wants_lines(self) -> bool:
        """Whether any line is still needed: by a pending request, or by a journal for requests to come."""
        return bool(self._requests) or self._log.wants_lines

    def requests(self) -> Iterable[tuple[str, Request]]:
        """Return a copy of the pending requests, with their custom_ids."""
        return tuple(self._requests.items())

    def set_may_be_billed(self, may_be: bool) -> None:
        """Say of all of them whether they may have been executed and billed."""
        for request in self._requests.values():
            request.may_have_been_billed = may_be

    def withdraw(self, request: Request) -> None:
        """Remove the request of a caller who left. Its line, if it was sent, becomes unclaimed."""
        del self._requests[request.custom_id]
        self._billing.left(request)
        self._log.caller_left(request)
        self._has_lost_callers = True
        self._check_abandonment()

    def attach(self, custom_id: str, request: Request, *, is_paid: bool = False) -> None:
        """Let `request` wait for an unclaimed line of the batch.

        Args:
            is_paid: whether the line was read, and booked, before.
        """
        self._billing.taken_up(custom_id, request, is_paid=is_paid)
        self._requests[custom_id] = request
        request.sent(Lane.BATCH)
        request.custom_id, request.holder, request.may_have_been_billed = custom_id, self, True
        self._log.caller_attached(custom_id)
        self.trace.joined(request)
        if self.abandoned.is_set():
            self.abandoned = anyio.Event()

    def deliver(self, line: OutputLine, batch_id: str) -> None:
        """Settle the request that this line answers. Unknown and repeated lines are ignored."""
        outcome = outcomes.line_outcome(line, batch_id)
        if self.answers_only and not outcomes.may_be_paid_answer(line):
            return
        if line.custom_id in self._requests:
            self._settle(line.custom_id, outcome)
        else:
            self._deliver_to_nobody(line.custom_id, outcome)
            self._check_abandonment()

    def reject(self, custom_id: str, problem: Problem, status_code: int, batch_id: str | None) -> None:
        """Settle a request whose line the upstream rejected, unless its caller has left."""
        if custom_id in self._requests:
            self._settle(custom_id, outcomes.rejected_line(problem, status_code, custom_id, batch_id))

    def _deliver_to_nobody(self, custom_id: str, outcome: Answer | BatchError) -> None:
        is_kept = self._log.awaits_line(custom_id)
        charge = None
        if not isinstance(outcome, Answer) or outcomes.is_retryable(outcome):
            self._billing.refused(custom_id, outcome)
        else:
            charge = self._billing.answered_nobody(custom_id, outcome, is_kept=is_kept)
        if is_kept:
            self._log.unclaimed_result(custom_id, outcome, charge)
        elif charge is not None:
            self._log.charged(charge)

    def pop_all(self) -> list[Request]:
        """Remove and return all pending requests, to go into another batch."""
        return self.pop(lambda request: True)

    def pop(self, is_wanted: Callable[[Request], bool], *, are_executed: bool = False) -> list[Request]:
        """Remove and return those pending requests, to go elsewhere. Those fail that may be billed twice then, if no
        cap has room for that.

        Args:
            are_executed: whether their lines may have been, or be, executed.
        """
        are_repeated, popped = are_executed or self.may_be_executed, []
        for custom_id, request in self.requests():
            if not is_wanted(request):
                continue
            if are_repeated and not self._billing.may_repeat(request):
                self._settle(custom_id, money_outcomes.repetition_error(request, self.batch_id))
                continue
            request.may_have_been_billed = False
            del self._requests[custom_id]
            if are_repeated:
                self._billing.repeated(custom_id, request)
            self._log.line_dropped(custom_id)
            popped.append(request)
            self._tell_requeued(request)
        self._check_abandonment()
        return popped

    def disown(self) -> list[Request]:
        """Remove and return all pending requests: another engine has the batch, and books its lines."""
        requests = list(self._requests.values())
        self._requests.clear()
        return requests

    def pop_resubmitted_count(self) -> int:
        """How many requests were resubmitted since the last call."""
        count, self._resubmitted = self._resubmitted, 0
        return count

    def fail(self, custom_id: str, error_for: ErrorFor, batch_id: str | None) -> None:
        """Fail the request of one line, if it is still pending."""
        if custom_id in self._requests:
            self._settle(custom_id, error_for(self._requests[custom_id], batch_id))

    def fail_popped(self, request: Request, error: BatchError, reason: str) -> None:
        """Settle a request that was popped, with the reason of its whole batch."""
        request.settle(error, self._failures, reason)

    def refuse_excess(self, spending: Spending) -> None:
        """Settle the last requests, until no cap is exceeded. None of them was sent."""
        for custom_id, request in reversed(list(self._requests.items())):
            refusal = spending.refuse_excess(request)
            if refusal is None:
                return
            del self._requests[custom_id]
            request.settle(refusal, self._failures)

    def fail_all(self, error_for: ErrorFor, batch_id: str | None, reason: str | None = None) -> None:
        """Settle each pending request with an error of its own.

        Args:
            reason: why the whole batch failed, in words that may be shown.
        """
        for custom_id, request in self.requests():
            self._settle(custom_id, error_for(request, batch_id), reason)

    def fail_rest(
        self, error_of: Callable[[str], BatchEndedError], reason: str | None = None, *, tells_others: bool
    ) -> None:
        """The batch has ended without these requests: settle each with an error, made of its custom_id.

        Args:
            reason: why, in words that may be shown.
            tells_others: whether engines that share the journal, and wait for lines, are told so. Else they send their
                requests again.
        """
        self.fail_all(lambda request, batch_id: error_of(request.custom_id), self.batch_id, reason)
        if tells_others:
            self._log.unclaimed_failed(error_of)

    def _settle(self, custom_id: str, outcome: Answer | BatchError, reason: str | None = None) -> None:
        request = self._requests[custom_id]
        may_repeat = not self.may_be_executed or self._billing.may_repeat(request)
        if outcomes.is_retryable(outcome) and may_repeat and self._resubmit(request):
            self._resubmitted += 1
            self._tell_requeued(request)
            del self._requests[custom_id]
            if self.may_be_executed:
                self._billing.repeated(custom_id, request)
            self._log.line_dropped(custom_id)
        else:
            del self._requests[custom_id]
            self._log.settled(request, outcome, self._book(request, outcome))
            request.settle(outcome, self._failures, reason)
        self._check_abandonment()

    def _book(self, request: Request, outcome: Answer | BatchError) -> Charge | None:
        if isinstance(outcome, Answer):
            return self._billing.answered(request, outcome)
        self._billing.failed(request, outcome)
        return None

    def _tell_requeued(self, request: Request) -> None:
        if request.trace is not None:
            request.trace.event("autobatcher.requeued", **{"autobatcher.batch.id": self.batch_id or ""})

    def _check_abandonment(self) -> None:
        if self._has_lost_callers and not self._requests and not self._log.awaits_callers:
            self.abandoned.set()
