"""What happens to a batch that will not end before its callers' deadlines.

It is cancelled, watched until it has ended, and read. Then lines that were certainly not executed go to the next lane,
or into a new batch. So nothing is paid for twice, and answers that are there already are used.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio

from ...upstream.failures import UpstreamError
from .. import outcomes
from ..dispatch.begun_batch import BegunBatch
from ..recovery.batch_log import BatchLog
from ..request import Request
from .cancellation import CANCEL_PATIENCE_SECONDS, Cancellation
from .engine import Engine
from .pending import PendingRequests
from .phase import Cause
from .requeue import Requeue
from .source import Source
from .upstream import UpstreamBatch
from .watch import Watch

T = TypeVar("T")


class Cutoff:
    """Watches one batch until it ends, or until it must be cut off.

    Attributes:
        was_reached: whether the batch was cut off.
    """

    def __init__(
        self,
        upstream: UpstreamBatch,
        pending: PendingRequests,
        watch: Watch,
        requeue: Requeue,
        cancellation: Cancellation,
        log: BatchLog,
        engine: Engine,
        *,
        source: Source,
    ) -> None:
        self.was_reached: bool = False
        self._upstream = upstream
        self._pending = pending
        self._watch = watch
        self._requeue = requeue
        self._cancellation = cancellation
        self._log = log
        self._engine = engine
        self._source = source
        self._batch: BegunBatch | None = None
        self._scope: anyio.CancelScope | None = None  # while the batch is watched
        self._cancelled_at: float | None = None

    async def until_ended(self, *, begins_at_once: bool) -> Cause | None:
        """Watch the batch until it has ended by itself or by its cutoff. Returns why its life ended before that.

        Raises:
            UpstreamError: if polls are refused for good. A refused cancellation is not: the batch goes on then.
        """
        seconds = self._source.deadline_seconds(self._engine.settings)
        with anyio.move_on_after(seconds):
            return None if await self._watch_until_ended(begins_at_once) else Cause.ABANDONED
        if await self._watch.check_after_deadline():
            return None
        if self._engine.dispatcher.latest_start(self._requests()) < math.inf:  # they can go on to another lane
            with anyio.move_on_after(CANCEL_PATIENCE_SECONDS):
                return None if await self._cut_off() else Cause.ABANDONED
        self._requeue.pay_twice()
        self._pending.fail_all(outcomes.overdue_error_for(seconds), self._upstream.batch_id)
        return Cause.OVERDUE

    async def _watch_until_ended(self, begins_at_once: bool) -> bool:
        """False if the batch is abandoned."""
        self._begin()
        while (moment := self._moment()) > anyio.current_time():
            with anyio.CancelScope(deadline=moment) as self._scope, self._unless_others_may_answer():
                has_ended = await self._watch.until_ended(begins_at_once=begins_at_once)
                self._learn(is_done=has_ended)
                return has_ended
            begins_at_once = False
        return await self._cut_off()

    async def _cut_off(self) -> bool:
        self.was_reached = self._pending.answers_only = True  # what is not executed now goes on
        self._learn(is_done=False)
        return await self.until_payers_leave(self._stop)

    @contextmanager
    def while_submitting(self) -> Iterator[anyio.CancelScope]:
        """Cut the upload off when it is too late for a batch: nothing was executed yet."""
        self._begin()
        with anyio.CancelScope(deadline=self._moment()) as scope:
            yield scope

    @contextmanager
    def _unless_others_may_answer(self) -> Iterator[None]:
        """Bear polls that are refused for good while requests may still go on to another lane: they cannot before it is
        known what was executed."""
        try:
            yield
        except UpstreamError:
            if not any(map(self._engine.dispatcher.may_still_go_on, self._requests())):
                raise

    def hurry(self) -> None:
        """A request was attached, whose deadline may come before all others."""
        self._begin()
        if self._scope is not None:
            self._scope.deadline = min(self._scope.deadline, self._moment())

    async def until_payers_leave(self, step: Callable[[], Awaitable[T]], *, least_seconds: float = 0.0) -> T:
        """Do what tells which lines were executed. Callers who would rather pay twice do not wait longer than they can:
        they are sent on, and it is done again for the others.

        Args:
            least_seconds: how long it may take in any case.
        """
        payers = [request for request in self._requests() if self._requeue.may_pay_twice(request)]
        latest = self._engine.dispatcher.latest_start(payers)
        with anyio.CancelScope(deadline=max(latest, anyio.current_time() + least_seconds)):
            return await step()
        self._requeue.pay_twice()
        return await step()

    async def _stop(self) -> bool:
        """Cancel the batch, and watch until it has ended."""
        self._log.cancelling()
        if self._cancelled_at is None:
            self._cancelled_at = anyio.current_time()
        try:
            await self._cancellation.request()
        except UpstreamError as error:
            self._upstream.emit_cancel_failed(error.summary)
        has_ended = await self._watch.until_ended(begins_at_once=True, is_urgent=True)
        state = self._upstream.state
        if self._batch is not None and state is not None and state.status == "cancelled":
            self._engine.dispatcher.cancelled(self._batch, anyio.current_time() - self._cancelled_at)
        return has_ended

    def _learn(self, *, is_done: bool) -> None:
        first = self._upstream.first_state
        had_ended = self._source.age_seconds > 0 and first is not None and first.is_terminal
        if self._batch is not None and not had_ended:  # nobody knows when, if it was while no process ran
            self._engine.dispatcher.ended(self._batch, is_done=is_done)

    def _moment(self) -> float:
        requests = self._requests()
        if self._batch is None or not requests:
            return math.inf
        return self._engine.dispatcher.cutoff_of(requests, self._batch)

    def _begin(self) -> None:
        if self._batch is None:
            requests = [request for _, request in self._pending.requests()]
            age, window = max(0.0, self._source.age_seconds), self._source.completion_window
            most_seconds = age + self._source.deadline_seconds(self._engine.settings)
            self._batch = self._engine.dispatcher.crowd.begun(
                requests,
                window,
                started_at=anyio.current_time() - age,
                most_seconds=most_seconds,
                open_lines=self._pending,
            )

    def _requests(self) -> list[Request]:
        """Those that have a deadline."""
        return [request for _, request in self._pending.requests() if request.terms.deadline is not None]
