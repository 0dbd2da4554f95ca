"""`Batcher`: submit a request, get its answer. One coroutine, `run`, owns the nursery in which all batches run."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import cancel_shielded_checkpoint

from .. import events
from ..errors import JournalError
from ..upstream.account import Account
from ..upstream.batch_api import BatchAPI
from . import outcomes
from .active_batches import ActiveBatches
from .admission import check_provider_takes
from .batch.batch import Batch
from .batch.listing import Listings
from .batch.phase import Ending
from .batch.source import EarlierBatch
from .dispatch.dispatcher import Dispatcher
from .emitter import Emit, Emitter, Observer
from .fair_limiter import CONCURRENT_POLLS, CONCURRENT_UPLOADS, FairLimiter
from .journal.records import CLOSE_SECONDS as JOURNAL_CLOSE_SECONDS
from .lanes.lane import Lane
from .poll_hints import PollHints
from .queue.queue import RequestQueue
from .recovery.batch_log import JournalBatchLog
from .recovery.call_log import CallLog
from .recovery.choice import recovery_of
from .recovery.no_recovery import NoRecovery
from .request import Answer, ErrorFor, Request
from .settings import Settings
from .spending import Spending
from .statistics import BatcherStatistics
from .tally import Tally
from .tracer import Tracer

if TYPE_CHECKING:
    from .journal.writer import MakeWriter  # imported at run time only if used: some Pythons lack sqlite3

logger: logging.Logger = logging.getLogger("autobatcher")


class Batcher:
    """Gathers requests into batches, and returns to each its own answer. For one event loop and one call of `run`.

    Args:
        api: the upstreams' Batch API; owned by the caller.
        wall_clock: returns the time of events, in Unix seconds. All waiting uses the event loop's clock.
        make_writer: makes the writer of the journal's file; None for a thread.
    """

    def __init__(
        self,
        settings: Settings,
        api: BatchAPI,
        *,
        wall_clock: Callable[[], float] = time.time,
        make_writer: MakeWriter | None = None,
        spending: Spending | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._wake: anyio.Event | None = None
        self.settings: Settings = settings
        self.api: BatchAPI = api
        self.tracer: Tracer | None = tracer
        self.queue: RequestQueue = RequestQueue(settings, self._wake_up)
        isolates, most = settings.isolate_accounts, settings.max_active_batches
        self.uploads: FairLimiter = FairLimiter.for_calls(CONCURRENT_UPLOADS, isolates=isolates, most_batches=most)
        self.polls: FairLimiter = FairLimiter.for_calls(CONCURRENT_POLLS, isolates=isolates, most_batches=most)
        self.hints: PollHints = PollHints()
        self.listings: Listings = Listings(api, self.polls, self.hints.give)
        self.tally: Tally = Tally()
        self.observers: list[Observer] = []
        self.emit: Emit = Emitter(settings.batch_event_handler, wall_clock, self.observers)
        self.spending: Spending = (spending or Spending(settings, wall_clock)).begun()
        self.dispatcher: Dispatcher = Dispatcher(
            settings, api.realtime, self.queue, self.spending, self.emit, self._wake_up, self._call_log_for
        )
        self._wall_clock = wall_clock
        self.queued_bytes: FairLimiter = FairLimiter(settings.max_queued_bytes, isolates=isolates)
        self._batches = ActiveBatches(most, isolates=isolates)
        self.recovery: NoRecovery = recovery_of(
            settings,
            wall_clock=wall_clock,
            make_writer=make_writer,
            resume=self._resume,
            place=self._place,
            flush=self.queue.flush,
            emit=self.emit,
            durations=self.dispatcher.durations,
            spending=self.spending,
            hints=self.hints,
        )
        self.cancels_on_close: bool = settings.cancel_active_batches_on_close
        self._stop = Ending.NOT_YET
        self._keeps_for_rerun = self._is_closed = False
        self._ended = anyio.Event()

    async def submit(self, request: Request) -> Answer:
        """Submit `request` in a batch and return the upstream's answer, which may be an HTTP error.

        Needs `run`, now or soon. Blocks in turn while `max_queued_bytes` are queued, before the request is queued.

        Raises:
            UnbatchableRequestError: at once, if the provider cannot batch the request. Nothing was sent.
            BudgetExceededError: at once, if it may cost more than `max_cost` leaves.
            DeadlineMissedError: at once, if no lane can keep the deadline; else when it has passed.
            BatchError: a subclass of it, if the batch failed this request or the engine was closed.

        Cancelled: before the upload, the request is never sent. Later, its answer is dropped, and a batch whose callers
        have all left is cancelled upstream (`cancel_abandoned_batches`).
        """
        await self.enqueue(request)
        await request.outcome()
        return request.result()

    async def enqueue(self, request: Request) -> None:
        """Queue `request` as `submit` does, but do not wait for its outcome. Cancelled: it was not queued."""
        self._check(request)
        if not self._is_closed and not await request.enqueue(self.queued_bytes):
            raise outcomes.missed_deadline_error(request, None)
        if self._is_closed:
            request.dequeue()
            raise outcomes.closed_error(request, None)
        self._add(request)

    def submit_nowait(self, request: Request) -> None:
        """Queue `request` for the next batch of its kind. Wait for it with `Request.outcome` or `Request.notify`.

        Raises:
            anyio.WouldBlock: if `max_queued_bytes` are queued.
            UnbatchableRequestError, BudgetExceededError, DeadlineMissedError, ClientClosedError: as in `submit`.
        """
        self._check(request)
        if self._is_closed:
            raise outcomes.closed_error(request, None)
        request.enqueue_nowait(self.queued_bytes)
        self._add(request)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run the engine until `stop` or cancellation, once. All its tasks have ended when it returns.

        In both cases, pending requests get a `ClientClosedError`. Active batches are cancelled upstream or left
        running, as configured, within `SHUTDOWN_SECONDS`; a creation in flight is awaited first, for up to
        `CREATE_SECONDS`. A bug in the engine is not raised: pending requests get an `EngineError`.

        Raises:
            JournalError: before the start, if the journal cannot be used.
        """
        try:
            await self.spending.warm()
            await self._open_journal()
            async with anyio.create_task_group() as nursery:
                task_status.started()
                try:
                    nursery.start_soon(self.recovery.run, self._fail)
                    await self._start_batches(nursery)
                except anyio.get_cancelled_exc_class():
                    await cancel_shielded_checkpoint()  # let callers cancelled with us leave first; see Batch.run
                    raise
                except Exception as defect:
                    self._fail(defect)
                finally:
                    self._close(outcomes.closed_error)
                    nursery.cancel_scope.cancel()
        finally:
            self._close(outcomes.closed_error)
            with anyio.move_on_after(JOURNAL_CLOSE_SECONDS, shield=True):
                is_known = self.was_stopped or self._keeps_for_rerun
                await self.recovery.close(self.ending.of_session if is_known else None)
            self.abandon()

    def abandon(self) -> None:
        """Settle all pending requests and count as ended: after `run`, or if `run` never took its first step."""
        self._close(outcomes.closed_error)
        self._batches.close()  # those whose tasks never took their first step
        self._ended.set()

    def stop(self, *, well: bool = True) -> None:
        """Ask `run` to end. Synchronous; can be called again, and before `run`.

        Args:
            well: whether this is a successful end. If not, a journal keeps all delivered answers for a rerun.
        """
        self._stop = Ending.WELL if well else Ending.BADLY
        self._wake_up()

    def keep_for_rerun(self) -> None:
        """Keep delivered answers and running batches in the journal for a rerun. Synchronous."""
        self._keeps_for_rerun = True

    @property
    def was_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop is not Ending.NOT_YET

    @property
    def has_ended(self) -> bool:
        """Whether `run` has ended."""
        return self._ended.is_set()

    async def wait_ended(self) -> None:
        """Wait until `run` has ended. Cancelled: `run` is not affected."""
        await self._ended.wait()

    def statistics(self) -> BatcherStatistics:
        """Return a snapshot of the engine's state."""
        return self._batches.statistics(self.queue, self.dispatcher, len(self.recovery))

    @property
    def batch_count(self) -> int:
        """How many batches exist."""
        return len(self._batches)

    @property
    def ending(self) -> Ending:
        """How the engine would end now. If nobody called `stop`, it was cancelled."""
        if self._keeps_for_rerun:
            return Ending.FOR_RERUN
        return Ending.BADLY if self._stop is Ending.NOT_YET else self._stop

    def resubmit(self, request: Request) -> bool:
        """Add a request that failed with a retryable error to a later batch; False if it has no retries left."""
        if self.was_stopped or self._is_closed or request.retries_left <= 0:
            return False
        request.retries_left -= 1
        request.throttle_patience = None
        self.dispatcher.place(request)  # not `_add`, which might claim a line of the same batch
        return True

    def release(self, batch: Batch) -> None:
        """Free the batch's slot among the active ones."""
        if self._batches.remove(batch):
            if batch.was_accepted:
                self.queue.batch_ended(batch.key)
            self._wake_up()

    async def _open_journal(self) -> None:
        try:
            await self.recovery.open()
        except JournalError as error:
            self._close(outcomes.journal_error_for(error))
            raise

    def _resume(self, log: JournalBatchLog, account: Account) -> Batch:
        """Make a batch of an earlier process one of ours. `run` starts its task."""
        batch = Batch.resumed(EarlierBatch.of(log.record, self._wall_clock()), account, self, log)
        self._batches.resume(batch)
        self._wake_up()
        return batch

    def _call_log_for(self, request: Request, lane: Lane) -> CallLog:
        return self.recovery.new_call_log(request, lane)

    # ---- starting batches ----

    def _check(self, request: Request) -> None:
        if Lane.BATCH in request.terms.lanes:
            check_provider_takes(request, self.settings.completion_window)
        self.dispatcher.check(request)

    def _add(self, request: Request) -> None:
        request.count_in(self.tally)
        if self.recovery.claim(request):
            self.dispatcher.watch(request)
        else:
            self._place(request)
        if request.is_settled:
            request.result()  # it was refused
        request.failures = self.dispatcher.failures

    def _place(self, request: Request) -> Lane:
        if (refusal := self.spending.reserve(request)) is None:
            return self.dispatcher.place(request)
        request.settle(refusal)
        return Lane.BATCH

    def _wake_up(self) -> None:
        if self._wake is not None:
            self._wake.set()

    async def _start_batches(self, nursery: TaskGroup) -> None:
        """Start a batch for each window that is full or whose time is up."""
        while not self.was_stopped:
            self._wake = anyio.Event()  # before the check, so that no wake-up is missed
            for batch in self._batches.pop_resumed():
                nursery.start_soon(self._run_batch, batch)
            self.dispatcher.durations.pass_time(self._wall_clock())
            places = self._batches.places
            for requests in self.queue.due(places):
                self._start_batch(nursery, requests)
                del requests  # else they stay in memory until the next batch
            self.dispatcher.look()  # at those that got no place
            self.dispatcher.start(nursery)
            next_due = self.queue.next_due() if places.has_room() else math.inf
            with anyio.CancelScope(deadline=min(next_due, self.dispatcher.next_moment())):
                await self._wake.wait()

    def _start_batch(self, nursery: TaskGroup, requests: list[Request]) -> None:
        try:
            batch = Batch.of(requests, self, self.recovery.new_log)
        except Exception as defect:  # nothing else holds these requests now
            logger.exception("autobatcher: a bug in the engine; please report it")
            for request in requests:
                request.settle(outcomes.defect_error_for(defect)(request, None))
            self._batches.places.give_back(requests[0].account)
            self._wake_up()  # other windows may wait for the slot
            return
        self._batches.add(batch)
        self.recovery.batch_started(batch)
        nursery.start_soon(self._run_batch, batch)

    async def _run_batch(self, batch: Batch) -> None:
        try:
            await batch.run()
        except Exception:  # in a shutdown, when its callers have an outcome; other batches must not be affected
            logger.exception("autobatcher: a bug in the shutdown of batch %s", batch.upstream.batch_id)
            batch.upstream.emit_cancel_failed("a bug in autobatcher prevented its shutdown")
        finally:
            self.release(batch)
            self.recovery.batch_ended(batch)

    def _fail(self, defect: Exception) -> None:
        logger.error("autobatcher: a bug stopped the engine; please report it", exc_info=defect)
        self._close(outcomes.defect_error_for(defect))
        self.stop(well=False)

    def _close(self, error_for: ErrorFor) -> None:
        """Settle all pending requests, before batches take their time to shut down. Only the first call counts."""
        if self._is_closed:
            return
        self._is_closed = True
        pending_request_count = self.tally.waited + self.queued_bytes.waiting
        self.recovery.fail_all(error_for)
        self.queue.fail_all(error_for)
        self.dispatcher.fail_all(error_for)
        self._batches.close()
        self.queued_bytes.admit_all()
        self.emit(
            events.ClientClosing,
            pending_request_count=pending_request_count,
            active_batch_ids=list(self._batches.running()),
            cancel_active_batches_on_close=self.cancels_on_close,
            metadata=dict(self.settings.batch_metadata),
        )
