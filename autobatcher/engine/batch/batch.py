"""One batch in one task: begin, watch, read, and a bounded shutdown."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Hashable

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint

from ...errors import JournalError
from ...upstream.account import Account
from ...upstream.failures import GONE, UpstreamError
from .. import outcomes
from ..failures import Failures
from ..journal import UnclaimedLine
from ..journal.failures import NotOurBatchError
from ..journal.records import custom_id_of
from ..queue.windows import key_of, travel_key
from ..recovery.batch_log import BatchLog
from ..request import Request
from ..tracer import NO_BATCH_TRACE, BatchTrace
from .abandonment import COME_BACK_SECONDS, Abandonment
from .billing import BatchBilling
from .cancellation import Cancellation
from .cutoff import Cutoff
from .engine import Engine
from .leaving import SHUTDOWN_SECONDS, Leaving
from .model_advice import with_advice
from .pending import PendingRequests
from .phase import BEFORE_CREATION, MAY_RUN, Cause, Ending, Phase
from .reading import Reading
from .requeue import Requeue
from .results import ResultReader
from .shown_reason import mask_reason, reason_of_end
from .source import EarlierBatch, NewBatch, Source
from .submission import Submission
from .uncertain_creation import UncertainCreation
from .upstream import UpstreamBatch
from .watch import Watch

logger: logging.Logger = logging.getLogger("autobatcher")

DISOWN_SECONDS = 60.0
"""How long a batch that turned out to be another engine's waits for the recovery to say so: it must ask the journal."""


class Batch:
    """One upstream batch and the requests in it.

    Args:
        source: whether the batch is new, or of an earlier process.
        idempotency_key: identifies the batch upstream.
        requests: the requests that wait for it, by custom_id.
        key: its requests' `travel_key`.
    """

    def __init__(
        self,
        source: Source,
        account: Account,
        endpoint: str,
        idempotency_key: str,
        requests: dict[str, Request],
        *,
        key: Hashable,
        engine: Engine,
        log: BatchLog,
    ) -> None:
        settings, tracer = engine.settings, engine.tracer
        self.key: Hashable = key
        self.log: BatchLog = log
        self.upstream: UpstreamBatch = UpstreamBatch(
            account,
            endpoint,
            idempotency_key,
            api=engine.api,
            settings=settings,
            emit=engine.emit,
            completion_window=source.completion_window,
        )
        self.trace: BatchTrace = NO_BATCH_TRACE if tracer is None else tracer.batch(account, endpoint)
        self._billing = BatchBilling(engine.spending, account, self.upstream, endpoint=endpoint, source=source)
        self._failures = Failures(engine.emit, settings.batch_metadata, knows_submissions=True)
        self.pending: PendingRequests = PendingRequests(requests, engine.resubmit, self._billing, log, self._failures)
        self.pending.trace = self.trace
        self._source = source
        self._ours = anyio.CancelScope()  # cancelled when another engine has taken the batch
        self._loss = Cause.LOST
        self.account: Account = account
        self._engine = engine
        self._requeue = Requeue(self.pending, self.upstream, engine.queue, engine.dispatcher, key)
        drain, room = log.drain if log.is_journaled else None, engine.dispatcher.answer_room
        self._reader = ResultReader(engine.api, account, self.pending, drain, room, prefix=idempotency_key)
        self._abandonment = Abandonment(
            self.pending,
            is_wanted=settings.cancel_abandoned_batches,
            come_back_seconds=COME_BACK_SECONDS if log.is_journaled else 0.0,
            awaits_others=log.awaits_others,
        )
        self._watch = Watch(
            self.upstream,
            log,
            self._reader,
            self._requeue,
            self._abandonment,
            self.trace,
            account=account,
            key=key,
            engine=engine,
        )
        self._leaving = Leaving(
            self.upstream,
            self.pending,
            log,
            self._watch,
            self._reader,
            self._billing,
            self._cancellation(),
            account,
            engine,
        )
        cancellation = self._cancellation()
        self._cutoff = Cutoff(
            self.upstream, self.pending, self._watch, self._requeue, cancellation, log, engine, source=source
        )
        self._creation = UncertainCreation(self.upstream, self.pending, self._cutoff)
        self._reading = Reading(
            self.upstream,
            self.pending,
            self._reader,
            self._watch,
            self._requeue,
            source,
            self._cutoff,
            resubmits_missing=settings.missing_lines == "resubmit",
        )

    @classmethod
    def of(cls, requests: list[Request], engine: Engine, log_for: Callable[[str, Request], BatchLog]) -> Batch:
        """Make the batch of one window: at least one request, all with the same `travel_key`."""
        idempotency_key, first = uuid.uuid4().hex, requests[0]
        lines = {custom_id_of(idempotency_key, number): request for number, request in enumerate(requests)}
        return cls(
            NewBatch(first.placement.completion_window or engine.settings.completion_window),
            first.account,
            first.endpoint,
            idempotency_key,
            lines,
            key=key_of(first),
            engine=engine,
            log=log_for(idempotency_key, first),
        )

    @classmethod
    def resumed(cls, source: EarlierBatch, account: Account, engine: Engine, log: BatchLog) -> Batch:
        """Make a batch from a record of the journal. It has no pending requests yet; see `attach`."""
        endpoint, models = source.record.endpoint, source.record.models
        key = travel_key(account, endpoint, models[0] if models else "")
        batch = cls(source, account, endpoint, source.record.idempotency_key, {}, key=key, engine=engine, log=log)
        batch._requeue.lines = source.lines
        return batch

    @property
    def was_accepted(self) -> bool:
        """Whether the upstream worked on the batch, so that its end frees capacity there."""
        return self._watch.was_accepted

    @property
    def accepts_lines(self) -> bool:
        """Whether a request that is attached to an unclaimed line now will get an outcome."""
        # Without stored answers, a line that is read while nobody waits for it is lost, and must be read again.
        is_lossy = self.upstream.phase is Phase.READING and not self.log.keeps_answers
        return not self._leaving.has_begun and not is_lossy

    def attach(self, line: UnclaimedLine, request: Request) -> None:
        """Let `request` wait for a line whose caller is gone."""
        self.pending.attach(line.custom_id, request, is_paid=line.is_paid)
        self._cutoff.hurry()

    def disown(self, *, is_doubled: bool) -> list[Request]:
        """Stop: another engine took the batch. Returns the requests that waited for it.

        Args:
            is_doubled: whether that engine did not find it upstream. Then it is cancelled, unless it has ended.
        """
        if is_doubled and self.upstream.phase not in BEFORE_CREATION | MAY_RUN:
            return []  # it was executed, and can be read
        self._loss = Cause.DOUBLED if is_doubled else Cause.LOST
        requests = self.pending.disown()
        if not is_doubled:
            self.log.hand_over()
        self.trace.over(self._loss.name.lower(), self.upstream.state)
        self._ours.cancel()
        return requests

    # ---- the main flow ----

    async def run(self) -> None:
        """Run the batch from beginning to end. Raises nothing but Cancelled, which means that the engine stops."""
        with self.trace.task([request for _, request in self.pending.requests()]):
            await self._run()

    async def _run(self) -> None:
        ending = Ending.NOT_YET
        try:
            with self._ours:
                cause = await self._run_to_end()
                self._failures.tell()
                self.trace.over(cause.name.lower(), self.upstream.state)
                self._leaving.conclude(cause)
            self._leaving.conclude(self._loss)
            await self._leaving.finish(lambda: self._engine.release(self))
        except anyio.get_cancelled_exc_class():
            # Let callers that were cancelled together with us leave first. Otherwise the order of tasks would decide
            # whether this batch counts as abandoned.
            await cancel_shielded_checkpoint()
            ending = self._engine.ending
            raise
        finally:
            self.close()
            with anyio.move_on_after(SHUTDOWN_SECONDS, shield=True):
                await self._leaving.shut_down(ending)
            self._leaving.end(ending)
            self._failures.tell()

    async def _run_to_end(self) -> Cause:
        """Run the batch until its life ends by itself. Failures in here fail the callers, not the engine."""
        reason = None
        try:
            return await self._begin_and_watch()
        except UpstreamError as error:
            if self._handle_gone(error):
                return Cause.OVER
            self._requeue.pay_twice()
            await mask_reason(error, self.pending.requests())
            error_for, reason = outcomes.unreachable_error_for(error), error.summary
        except JournalError as error:
            if isinstance(error, NotOurBatchError):
                with anyio.move_on_after(DISOWN_SECONDS):
                    await anyio.sleep_forever()  # `disown` comes, and cancels this
            error_for = outcomes.journal_error_for(error)
        except Exception as error:
            logger.exception("autobatcher: a bug in the engine, batch %s; please report it", self.upstream.batch_id)
            error_for = outcomes.defect_error_for(error)
        self.pending.fail_all(error_for, self.upstream.batch_id, reason)
        return Cause.FAILED

    async def _begin_and_watch(self) -> Cause:
        if not await self._begin():
            return Cause.FAILED if self.upstream.phase is Phase.CREATING else Cause.OVER
        with self.trace.step("poll"):
            early = await self._cutoff.until_ended(begins_at_once=isinstance(self._source, EarlierBatch))
        return await self._read() if early is None else early

    async def _begin(self) -> bool:
        """Create the batch, or find it again; False if there is none to watch."""
        if isinstance(self._source, EarlierBatch):
            exists = await self._creation.find_again(self._source)
            if not exists:
                self._requeue.resend("their batch was never created")
        else:
            exists = await self._submission().run()
        self.pending.batch_id = self.upstream.batch_id
        if self.upstream.state is not None:
            self.log.state_changed(self.upstream.state)
            self.trace.seen(self.upstream.state)
        return exists

    def _submission(self) -> Submission:
        return Submission(
            self.upstream,
            self.pending,
            self.log,
            self._requeue,
            self._abandonment,
            self._cutoff,
            self._creation,
            self.trace,
            account=self.account,
            engine=self._engine,
        )

    def _handle_gone(self, error: UpstreamError) -> bool:
        """Resend the lines of an earlier batch that the upstream does not know any more; False for other errors."""
        is_known = self.upstream.state is not None  # a refused lookup is no proof
        if not (isinstance(self._source, EarlierBatch) and is_known and error.status_code in GONE):
            return False
        logger.warning("autobatcher: batch %s is gone upstream: %s", self.upstream.batch_id, error.summary)
        self.upstream.phase, self.pending.may_be_executed = Phase.GONE, True
        self._requeue.resend("their batch is gone upstream")
        return True

    # ---- after its end ----

    async def _read(self) -> Cause:
        """Read both files and settle requests by custom_id. Then settle the rest according to the batch's status."""
        with self.trace.step("read"):
            unreadable = await self._reading.run()
        if unreadable is not None and self._handle_gone(unreadable):
            return Cause.OVER
        if unreadable is not None:
            self._requeue.pay_twice()
            await mask_reason(unreadable, self.pending.requests())
            error_for = outcomes.unreachable_error_for(unreadable)
            self.pending.fail_all(error_for, self.upstream.batch_id, unreadable.summary)
        else:
            self._reading.settle_rest(await self._reason_of_end())
            self.upstream.phase = Phase.READ
        self._requeue.emit_resubmitted()
        self.upstream.emit_end()
        return Cause.OVER if unreadable is None else Cause.FAILED

    async def _reason_of_end(self) -> str | None:
        """Why the batch ended as it did, in words that may be shown; with advice on its model in the state."""
        assert self.upstream.state is not None
        requests = [request for _, request in self.pending.requests()]
        self.upstream.state = await with_advice(self.upstream.state, self._engine.api.models, self.account, requests)
        return await reason_of_end(self.upstream.state, self.pending.requests())

    def close(self) -> None:
        """Fail the pending requests at once, because the engine stops. Can be called again."""
        self._leaving.close()

    def _cancellation(self) -> Cancellation:
        log = self.log  # not the batch: it would refer to itself, and stay in memory until the garbage collector runs
        return Cancellation(
            self.upstream, self.account, self._engine.api, is_wanted=lambda: not log.handed_over.is_set()
        )
