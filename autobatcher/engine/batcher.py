"""`Batcher`: submit a request, get its answer. One coroutine, `run`, owns the nursery in which every batch lives."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import cancel_shielded_checkpoint

from .. import events
from ..errors import JournalError, UnbatchableRequestError
from ..upstream.account import Account
from ..upstream.batch_api import BatchAPI
from . import outcomes
from .batch.batch import Batch
from .batch.resumed import ResumedBatch
from .byte_limiter import ByteLimiter
from .journal import Ending
from .journal.records import CLOSE_SECONDS as JOURNAL_CLOSE_SECONDS
from .queue.rate_limiter import RateLimiter
from .queue.windows import Windows
from .recovery.batch_log import NULL_BATCH_LOG, BatchLog, JournalBatchLog
from .recovery.recovery import Recovery
from .request import Answer, ErrorFor, Request
from .settings import Settings

logger: logging.Logger = logging.getLogger("autobatcher")

CONCURRENT_POLLS = 8
"""Polls under way at once: enough that a slow one holds up nobody, few enough for any server."""

CONCURRENT_UPLOADS = 4
"""Batches that upload at once: enough to fill a line, few enough that the first one is not slowed down by the last."""


@dataclass(frozen=True, kw_only=True)
class BatcherStatistics:
    """What an engine holds at one moment."""

    queued_requests: int
    waiting_requests: int
    active_batch_ids: tuple[str, ...]


class Batcher:
    """Gathers requests into batches and gives each its own answer. For one event loop, and one `run`.

    Args:
        api: the wire. Owned by whoever made it.
        wall_clock: the time of events, in Unix seconds; all waiting goes by the event loop's own clock.
    """

    def __init__(self, settings: Settings, api: BatchAPI, *, wall_clock: Callable[[], float] = time.time) -> None:
        self.settings: Settings = settings
        self.api: BatchAPI = api
        self.uploads: anyio.CapacityLimiter = anyio.CapacityLimiter(CONCURRENT_UPLOADS)
        self.polls: anyio.CapacityLimiter = anyio.CapacityLimiter(CONCURRENT_POLLS)
        self._wall_clock = wall_clock
        self._byte_limiter = ByteLimiter(settings.max_queued_bytes)
        self._rate_limiters: dict[str, RateLimiter] = {}
        self._windows = Windows(batch_size=settings.batch_size, window_seconds=settings.batch_window_seconds)
        self._batches: set[Batch] = set()
        self._resumed: list[Batch] = []  # whose tasks are not started yet
        self._recovery = None if settings.journal is None else self._make_recovery(settings.journal)
        self._must_stop = False
        self._ends_well = False
        self._is_kept = False
        self._is_closed = False
        self._wake: anyio.Event | None = None
        self._ended = anyio.Event()

    async def submit(self, request: Request) -> Answer:
        """Give `request` to the next batch of its kind, wait, and return what the upstream answered to it.

        The answer may be an HTTP failure; everything that is no answer is raised. Needs `run` to be running, or to
        be started soon. Waits in turn, before the request is even queued, while `max_queued_bytes` are queued.

        Raises:
            UnbatchableRequestError: at once, if the provider takes no such request; nothing was sent.
            BatchError: one of its subclasses, if the batch came to nothing for this request.

        Cancelled: the request is withdrawn. Before its batch was uploaded it is never sent; after that its answer
        is dropped, and a batch that nobody waits for any more is cancelled upstream.
        """
        _check_provider_takes(request)
        if not self._is_closed:
            await request.enter(self._byte_limiter)
        if self._is_closed:
            request.unqueue()
            raise outcomes.closed_error(request, None)
        self._add(request)
        await request.outcome()
        return request.result()

    def submit_nowait(self, request: Request) -> None:
        """Give `request` to the next batch of its kind, and leave the waiting to `Request.outcome` or `Request.notify`.

        Raises:
            anyio.WouldBlock: if `max_queued_bytes` are queued.
            UnbatchableRequestError, ClientClosedError: as `submit`.
        """
        _check_provider_takes(request)
        if self._is_closed:
            raise outcomes.closed_error(request, None)
        request.acquire_nowait(self._byte_limiter)
        self._add(request)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run the engine until `stop` or cancellation; once. When it returns, nothing of it is alive any more.

        Requests that wait get a `ClientClosedError`; active batches are cancelled upstream, or left alone, as
        `settings` say, within `engine.batch.SHUTDOWN_SECONDS`; a batch that is just being created is waited for first,
        for up to `upstream.batch_api.CREATE_SECONDS`. A defect of ours ends the engine but is not raised:
        waiting requests get an `EngineError` instead, and the caller's nursery lives on.

        Raises:
            JournalError: before it has started, if there is a journal that cannot be used.
        """
        try:
            await self._open_journal()
            async with anyio.create_task_group() as nursery:
                task_status.started()
                try:
                    if self._recovery is not None:
                        nursery.start_soon(self._give_stored_answers, self._recovery)
                    await self._start_batches(nursery)
                except anyio.get_cancelled_exc_class():
                    await cancel_shielded_checkpoint()  # callers cancelled with us leave first: see Batch.run
                    raise
                except Exception as defect:
                    logger.exception("autobatcher: a defect stopped the engine")
                    self._close(outcomes.defect_error_for(defect))
                finally:
                    self._close(outcomes.closed_error)
                    nursery.cancel_scope.cancel()
        finally:
            self._close(outcomes.closed_error)
            with anyio.move_on_after(JOURNAL_CLOSE_SECONDS, shield=True):
                await self._close_journal()
            self.abandon()

    def abandon(self) -> None:
        """Settle whatever is left and count as ended: after `run`, or for a `run` that never took its first step."""
        self._close(outcomes.closed_error)
        for batch in self._batches:  # whose tasks never took their first step
            batch.close()
        self._ended.set()

    def stop(self, *, well: bool = True) -> None:
        """Ask `run` to end. Synchronous; can be called again, and before `run`.

        Args:
            well: whether whoever used the engine has got what they wanted; if not, a journal keeps all for a rerun.
        """
        self._ends_well = well
        self._must_stop = True
        self._wake_up()

    def keep_for_rerun(self) -> None:
        """A journal must keep what a rerun needs: what callers were given, and the batches that run. Synchronous."""
        self._is_kept = True

    @property
    def was_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._must_stop

    @property
    def has_ended(self) -> bool:
        """Whether `run` is over."""
        return self._ended.is_set()

    async def wait_ended(self) -> None:
        """Wait until `run` is over. Cancelled: it ends all the same."""
        await self._ended.wait()

    def statistics(self) -> BatcherStatistics:
        """What the engine holds right now."""
        return BatcherStatistics(
            queued_requests=len(self._windows),
            waiting_requests=self._waiting_count(),
            active_batch_ids=self._active_batch_ids(),
        )

    # ---- what batches need of their engine ----

    @property
    def batch_count(self) -> int:
        """How many batches are alive."""
        return len(self._batches)

    @property
    def ends_well(self) -> bool:
        """Whether the engine was told to stop, and that all is well."""
        return self._must_stop and self._ends_well and not self._is_kept

    @property
    def leaves_batches(self) -> bool:
        """Whether batches that run are left for a rerun, whatever the settings say."""
        return self._is_kept

    def age_of(self, wall_time: float) -> float:
        """How many seconds ago that was, in Unix seconds."""
        return self._wall_clock() - wall_time

    def next_creation(self, account: Account) -> float:
        """When the next batch may be created at this account's upstream; that moment is taken."""
        now = anyio.current_time()
        if account.provider.max_batches_per_hour is None:
            return now
        rate_limiter = self._rate_limiters.setdefault(
            account.base_url, RateLimiter(account.provider.max_batches_per_hour)
        )
        return rate_limiter.reserve(now)

    def resubmit(self, request: Request) -> bool:
        """Take a request that failed in passing into the next batch of its kind; False if its tries are used up."""
        if self._must_stop or self._is_closed or request.retries_left <= 0:
            return False
        request.retries_left -= 1
        request.throttled_since = None
        request.custom_id = ""
        self._add_to_window(request)  # and not to a line of the very batch that has just ended
        return True

    def put_back(self, requests: list[Request], key: Hashable) -> None:
        """Take requests whose batch was refused because of others into new ones at once. That is no retry of theirs.

        The first time into one; from the second time on into two, so that many bad lines, named one at a time, cost
        uploads that get smaller and smaller.
        """
        for request in requests:
            request.custom_id = ""
            request.put_backs += 1
        half = (len(requests) + 1) // 2 if any(request.put_backs > 1 for request in requests) else len(requests)
        for part in (requests[:half], requests[half:]):
            if part:
                self._windows.put_back(part, key)
        self._wake_up()

    def throttled(self, requests: list[Request], key: Hashable, *, sent: int, asked_seconds: float) -> list[Request]:
        """The upstream had no room for a batch of `sent` lines: these wait, and travel in smaller ones.

        Gives back those that have waited for a whole batch's time by now; they are nobody's any more.
        """
        now = anyio.current_time()
        patience = self.settings.batch_deadline_seconds
        kept: list[Request] = []
        given_up: list[Request] = []
        for request in requests:
            request.throttled_since = now if request.throttled_since is None else request.throttled_since
            (given_up if now - request.throttled_since > patience else kept).append(request)
        for request in kept:
            request.custom_id = ""
        self._windows.hold(kept, key, now, sent=sent, asked_seconds=asked_seconds)
        self._wake_up()
        return given_up

    def release(self, batch: Batch) -> None:
        """A batch needs no place among the active ones any more."""
        if batch in self._batches:
            self._batches.discard(batch)
            if batch.was_taken:
                self._windows.eased(batch.key, anyio.current_time())
            self._wake_up()

    def taken(self, requests: int, key: Hashable) -> None:
        """The upstream works on a batch of so many requests."""
        self._windows.taken(key, requests, anyio.current_time())

    def emit(self, kind: type[events.BatchEvent], /, **fields: Any) -> None:
        """Hand an event to the user's handler. Never raises."""
        if self.settings.batch_event_handler is None:
            return
        event = kind(ts=self._wall_clock(), **fields)
        try:
            self.settings.batch_event_handler(event.to_dict())
        except (Exception, SystemExit, anyio.get_cancelled_exc_class()):  # noqa: ASYNC103  (the handler's own: nothing here waits)
            logger.warning("autobatcher: batch_event_handler raised at an event", exc_info=True)

    # ---- the journal ----

    def _make_recovery(self, path: str | os.PathLike[str]) -> Recovery:
        from .journal.journal import Journal  # here, since there are Pythons without sqlite3

        settings = self.settings
        journal = Journal(
            Path(path),
            is_hash_only=settings.journal_hash_only,
            retention_seconds=settings.journal_retention_seconds,
            wall_clock=self._wall_clock,
        )
        return Recovery(journal, resume=self._resume, add=self._add_to_window, tell=self._tell_reattached)

    async def _open_journal(self) -> None:
        if self._recovery is None:
            return
        try:
            await self._recovery.open()
        except JournalError as error:
            self._close(outcomes.journal_error_for(error))
            raise

    async def _give_stored_answers(self, recovery: Recovery) -> None:
        try:
            await recovery.run()
        except Exception as defect:
            logger.exception("autobatcher: a defect stopped the engine")
            self._close(outcomes.defect_error_for(defect))
            self.stop(well=False)

    async def _close_journal(self) -> None:
        if self._recovery is not None:
            ending: Ending = None
            if self._must_stop or self._is_kept:
                ending = "well" if self.ends_well else "failed"
            await self._recovery.close(ending)

    def _resume(self, log: JournalBatchLog, account: Account) -> Batch:
        """Make a batch of an earlier process one of ours. `run` starts its task."""
        batch = ResumedBatch(log, account, self)
        self._batches.add(batch)
        self._resumed.append(batch)
        self._wake_up()
        return batch

    def _log_for(self, idempotency_key: str, first: Request) -> BatchLog:
        if self._recovery is None:
            return NULL_BATCH_LOG
        settings = self.settings
        return self._recovery.new_log(
            idempotency_key, first, completion_window=settings.completion_window, metadata=dict(settings.batch_metadata)
        )

    def _tell_reattached(self, requests: list[Request]) -> None:
        metadata = dict(self.settings.batch_metadata)
        self.emit(events.RequestsReattached, request_count=len(requests), metadata=metadata)

    # ---- starting batches ----

    def _add(self, request: Request) -> None:
        if self._recovery is None or not self._recovery.take(request):
            self._add_to_window(request)

    def _add_to_window(self, request: Request) -> None:
        try:
            has_news = self._windows.add(request, anyio.current_time)
        except Exception:  # a defect: whatever it is, the request takes up no room
            request.unqueue()
            raise
        if has_news:
            self._wake_up()

    def _wake_up(self) -> None:
        if self._wake is not None:
            self._wake.set()

    async def _start_batches(self, nursery: TaskGroup) -> None:
        """Turn each window that is full, or whose time is up, into a batch with a task of its own."""
        while not self._must_stop:
            self._wake = anyio.Event()  # before looking, so that nothing between looking and waiting is missed
            while self._resumed:
                nursery.start_soon(self._live, self._resumed.pop(0))
            room = self.settings.max_active_batches - len(self._batches)
            for requests in self._windows.due(anyio.current_time(), room):
                self._start_batch(nursery, requests)
                del requests  # which would stay in memory until the next batch
            has_room = len(self._batches) < self.settings.max_active_batches
            with anyio.CancelScope(deadline=self._windows.next_due() if has_room else math.inf):
                await self._wake.wait()

    def _start_batch(self, nursery: TaskGroup, requests: list[Request]) -> None:
        try:
            batch = Batch.of(requests, self, self._log_for)
        except Exception as defect:  # these requests are in nobody's hands now
            logger.exception("autobatcher: a defect in the engine")
            for request in requests:
                request.settle(outcomes.defect_error_for(defect)(request, None))
            self._wake_up()  # other windows may wait for the place that this one did not take
            return
        self._batches.add(batch)
        if self._recovery is not None:
            self._recovery.lives(batch)
        nursery.start_soon(self._live, batch)

    async def _live(self, batch: Batch) -> None:
        try:
            await batch.run()
        except Exception:  # of a goodbye; its callers have been told, and others must not suffer
            logger.exception("autobatcher: a defect in leaving batch %s", batch.upstream.batch_id)
            batch.upstream.tell_cancel_failed("a defect of autobatcher in leaving it")
        finally:
            self.release(batch)
            if self._recovery is not None:
                self._recovery.over(batch)

    def _close(self, error_for: ErrorFor) -> None:
        """Tell everyone who waits, before any goodbye to the upstream takes its time. The first call counts."""
        if self._is_closed:
            return
        self._is_closed = True
        pending_request_count = len(self._windows) + (0 if self._recovery is None else len(self._recovery))
        if self._recovery is not None:
            self._recovery.fail_all(error_for)
        self._windows.fail_all(error_for)
        for batch in self._batches:
            batch.close()
        self._byte_limiter.open()
        self.emit(
            events.ClientClosing,
            pending_request_count=pending_request_count,
            active_batch_ids=list(self._active_batch_ids()),
            cancel_active_batches_on_close=self.settings.cancel_active_batches_on_close,
            metadata=dict(self.settings.batch_metadata),
        )

    def _waiting_count(self) -> int:
        recovery = 0 if self._recovery is None else len(self._recovery)
        return recovery + len(self._windows) + sum(len(batch.pending) for batch in self._batches)

    def _active_batch_ids(self) -> tuple[str, ...]:
        return tuple(b.upstream.batch_id for b in self._batches if b.upstream.is_active and b.upstream.batch_id)


def _check_provider_takes(request: Request) -> None:
    """Refuse what no batch of this provider can hold, before it can spoil a batch for others."""
    provider = request.account.provider
    if request.endpoint not in provider.endpoints:
        raise UnbatchableRequestError(
            f"The Batch API of provider {provider.name!r} does not take {request.endpoint}. Use an ordinary "
            "openai client for this call, or name the right provider= if this one was guessed wrong."
        )
    if provider.needs_model and not request.model:
        raise UnbatchableRequestError(
            f"Provider {provider.name!r} takes no line without a model: name one.", param="model"
        )
    most = min(provider.max_line_bytes or math.inf, provider.max_file_bytes)
    if request.size > most:
        raise UnbatchableRequestError(
            f"This request has {len(request.body):,} bytes; provider {provider.name!r} takes {most:,} at most."
        )
    if request.embedding_inputs > (provider.max_embedding_inputs or math.inf):
        raise UnbatchableRequestError(
            f"This request has {request.embedding_inputs:,} embedding inputs; provider {provider.name!r} takes "
            f"{provider.max_embedding_inputs:,} in a batch at most."
        )
