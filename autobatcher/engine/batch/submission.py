"""Submits a new batch: uploads its input file and creates it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import anyio

from ... import events
from ...upstream.account import Account
from ...upstream.failures import UncertainCreationError, UpstreamError
from .. import outcomes
from ..journal.cap_check import NoRoomError
from ..recovery.batch_log import BatchLog
from ..request import Request
from ..tracer import BatchTrace
from .abandonment import Abandonment
from .cutoff import Cutoff
from .engine import Engine
from .model_advice import advise
from .pending import PendingRequests
from .phase import Phase
from .requeue import Requeue
from .shown_reason import mask_reason
from .uncertain_creation import UncertainCreation
from .upstream import UpstreamBatch

_REFUSALS_OF_LINES = frozenset({400, 422})
"""The statuses of an upload that may be refused because of one line."""


class Submission:
    """Submits the requests of one batch."""

    def __init__(
        self,
        upstream: UpstreamBatch,
        pending: PendingRequests,
        log: BatchLog,
        requeue: Requeue,
        abandonment: Abandonment,
        cutoff: Cutoff,
        creation: UncertainCreation,
        trace: BatchTrace,
        *,
        account: Account,
        engine: Engine,
    ) -> None:
        self._upstream = upstream
        self._pending = pending
        self._log = log
        self._requeue = requeue
        self._abandonment = abandonment
        self._cutoff = cutoff
        self._creation = creation
        self._trace = trace
        self._account = account
        self._engine = engine

    async def run(self) -> bool:
        """Upload and create. False if there is no batch to watch; then every request was settled or requeued.

        Raises:
            JournalError: if the batch could not be recorded. Then nothing was sent.

        Cancelled: see `BatchAPI.upload` and `BatchAPI.create`; `upstream.phase` says what may exist.
        """
        is_created = False
        try:
            with self._cutoff.while_submitting() as scope:
                is_created = await self._upload_and_create()
            if not scope.cancelled_caught:
                return is_created
        except UncertainCreationError as error:
            return await self._find(error)
        except UpstreamError as error:
            await self._advise(error)
            self._handle_rejection(error)
            return False
        if self._upstream.phase is Phase.CREATING:
            return await self._find(UncertainCreationError("it was cut off for the sake of a deadline"))
        self._requeue.send_on("their batch could not be created in time")
        return False

    async def _upload_and_create(self) -> bool:
        if not await self._upload():
            return False
        if await self._abandonment.happens_within(await self._wait_before_creation()):
            return False
        await self._log.ready()
        with self._trace.step("create"):
            return await self._upstream.create(self._is_wanted, self._log.creating, self._pending.set_may_be_billed)

    async def _wait_before_creation(self) -> float:
        moment = self._engine.queue.reserve_creation(self._account)
        most = self._account.provider.max_batches_per_hour
        shared = 0.0 if most is None else await self._log.reserve_creation(most)
        return max(moment - anyio.current_time(), shared)

    async def _upload(self) -> bool:
        """Upload the pending requests; False if there are none, or if the upstream rejected some of the lines."""
        await self._log.ready()
        uploads = self._engine.uploads.turn(self._account)
        async with uploads:  # waits for a slot; `UpstreamBatch.upload` takes one per try
            lines = await self._intend()
            await self._log.ready()  # a pause while it was recorded hides who left meanwhile
            lines = self._still_wanted(lines)
        self._requeue.lines = [custom_id for custom_id, _ in lines]
        try:
            if not lines or not await self._sent(lines, uploads):
                return False
        except UpstreamError as error:
            refusal = error
        else:
            for _, request in lines:
                request.dequeue()
            return True
        await self._advise(refusal)
        problems = outcomes.problems_at_upload(refusal, self._account.provider)
        names_a_line = self._requeue.reject_lines(problems, refusal.status_code or 400)
        if not names_a_line and not (refusal.status_code in _REFUSALS_OF_LINES and self._requeue.halve()):
            raise refusal
        self._upstream.emit_submission_failed(refusal.summary)
        return False

    async def _sent(self, lines: list[tuple[str, Request]], uploads: AbstractAsyncContextManager[None]) -> bool:
        with self._trace.step("upload"):
            return await self._upstream.upload(lines, uploads, self._is_wanted)

    async def _intend(self) -> list[tuple[str, Request]]:
        """Record the pending requests, and return them. The last ones are refused if the caps have no room for all."""
        while lines := list(self._pending.requests()):
            try:
                await self._log.intend(lines)
                break
            except NoRoomError:
                self._pending.refuse_excess(self._engine.spending)
        return lines

    def _still_wanted(self, lines: list[tuple[str, Request]]) -> list[tuple[str, Request]]:
        """Leave out those whose callers left while the batch was recorded: who came back before that found no line."""
        if self._log.is_journaled:
            for custom_id, _ in lines:
                if custom_id not in self._pending:
                    self._log.line_dropped(custom_id)
        return [line for line in lines if line[0] in self._pending]

    def _is_wanted(self) -> bool:
        return bool(self._pending)

    async def _advise(self, error: UpstreamError) -> None:
        requests = [request for _, request in self._pending.requests()]
        await mask_reason(error, self._pending.requests())
        if not error.advice:
            await advise(error, self._engine.api.models, self._account, requests)

    def _handle_rejection(self, error: UpstreamError) -> None:
        """The upstream accepted no file or no batch, as far as known: wait for capacity, or fail the requests."""
        error_for = outcomes.unsubmitted_error_for(error, self._upstream.idempotency_key)
        if error.is_throttled or (error.status_code == 413 and len(self._requeue.lines) > 1):
            self._requeue.throttle(error.retry_after or 0.0, error.summary, error_for)
            return
        self._upstream.emit_submission_failed(error.summary)
        self._requeue.send_hurried_on("their batch could not be submitted")
        self._pending.fail_all(error_for, None, error.reason or error.summary)

    async def _find(self, error: UncertainCreationError) -> bool:
        """Look for a batch that may have been created, as long as deadlines allow. False if there is none to watch."""
        exists = await self._creation.exists()
        if exists:
            self._upstream.emit_begin(events.BatchSubmitted)
            return True
        self._upstream.emit_submission_failed(error.summary)
        if exists is None:
            self._requeue.pay_twice()
            error_for = outcomes.unsubmitted_error_for(error, self._upstream.idempotency_key)
            self._pending.fail_all(error_for, None, error.summary)
        else:
            self._requeue.send_on("their batch was not created")
        return False
