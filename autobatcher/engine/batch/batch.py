"""One batch inside one task: submit, watch, finish, and a bounded goodbye on the way out."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Hashable
from typing import Protocol

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint

from ... import events
from ...errors import JournalError
from ...upstream.account import Account
from ...upstream.batch_api import BatchAPI, wait_of
from ...upstream.batch_state import BatchState, Problem
from ...upstream.failures import UpstreamError
from .. import outcomes
from ..journal import UnclaimedLine
from ..journal.records import custom_id_of
from ..queue.windows import travel_key
from ..recovery.batch_log import BatchLog
from ..request import ErrorFor, Request
from ..settings import Settings
from .pending import PendingRequests
from .poll_schedule import Schedule
from .results import REFUSED_SECONDS, ResultReader
from .upstream import Emit, UpstreamBatch

logger: logging.Logger = logging.getLogger("autobatcher")

SHUTDOWN_SECONDS = 10.0
"""How long cancelling upstream may take while the engine stops: it is a few quick calls, and whoever closes a client or
stops a process waits for it. A creation on its way is awaited first: see `CREATE_SECONDS`."""

CANCEL_PATIENCE_SECONDS = 3600.0
"""How long an abandoned batch is tried to be cancelled upstream while the engine runs on."""

CLEAN_UP_SECONDS = 60.0
"""How long files of a finished batch are tried to be deleted while the engine runs on; they expire anyway."""

UNSEEN_SECONDS = 86_400.0
"""How long polls may fail in passing (5xx, no connection) before the batch counts as out of reach."""

COME_BACK_SECONDS = 60.0
"""How long a batch in a journal that all callers left is kept for them: those who try again do so within seconds, and
those who were cancelled together with the engine need it after the restart."""

LATE_FILE_SECONDS = 60.0
"""How long a completed batch may not name its output file, although it counts answers."""


class Engine(Protocol):
    """What a batch needs of the engine it lives in; see `Batcher`."""

    api: BatchAPI
    settings: Settings
    uploads: anyio.CapacityLimiter
    polls: anyio.CapacityLimiter

    @property
    def emit(self) -> Emit: ...

    @property
    def batch_count(self) -> int: ...

    @property
    def ends_well(self) -> bool: ...

    @property
    def leaves_batches(self) -> bool: ...

    def next_creation(self, account: Account) -> float: ...

    def resubmit(self, request: Request) -> bool: ...

    def put_back(self, requests: list[Request], key: Hashable) -> None: ...

    def throttled(
        self, requests: list[Request], key: Hashable, *, sent: int, asked_seconds: float
    ) -> list[Request]: ...

    def release(self, batch: Batch) -> None: ...

    def age_of(self, wall_time: float) -> float: ...

    def taken(self, requests: int, key: Hashable) -> None: ...


class Batch:
    """Requests that travel together on their way through one upstream batch.

    Args:
        idempotency_key: by which the batch is recognised upstream.
        requests: those that wait for it, by custom_id.
        key: of its kind; see `travel_key`.
    """

    def __init__(
        self,
        account: Account,
        endpoint: str,
        idempotency_key: str,
        requests: dict[str, Request],
        *,
        key: Hashable,
        engine: Engine,
        log: BatchLog,
    ) -> None:
        self.key: Hashable = key
        self.log: BatchLog = log
        self.pending: PendingRequests = PendingRequests(requests, engine.resubmit, log)
        self.upstream: UpstreamBatch = UpstreamBatch(
            account, endpoint, idempotency_key, api=engine.api, settings=engine.settings, emit=engine.emit
        )
        self._account = account
        self._engine = engine
        self._reader = ResultReader(engine.api, account, self.pending, log.room if log.is_kept else None)
        self._lines: list[str] = []  # custom_ids in the order of the input file
        self.was_taken: bool = False  # the upstream worked on it, so that its end makes room there
        self._takes_lines = True
        self._is_settled = False  # all that could be read was read, and everybody told
        self._is_left_to_others = False  # something got in our way, and a journal knows of it
        self._given_up: anyio.Event | None = None  # the desertion that it is given up for, and when
        self._given_up_at = 0.0
        self._is_overdue = False
        self._is_closed = False
        self._was_abandoned = False

    @classmethod
    def of(cls, requests: list[Request], engine: Engine, log_for: Callable[[str, Request], BatchLog]) -> Batch:
        """The batch of one window: at least one request, all of one account and of kinds that may travel together."""
        idempotency_key, first = uuid.uuid4().hex, requests[0]
        lines = {custom_id_of(idempotency_key, number): request for number, request in enumerate(requests)}
        key = travel_key(first.account, first.endpoint, first.model)
        return cls(
            first.account,
            first.endpoint,
            idempotency_key,
            lines,
            key=key,
            engine=engine,
            log=log_for(idempotency_key, first),
        )

    @property
    def takes_lines(self) -> bool:
        """Whether who is attached to a free line of it now will get an outcome of it."""
        return self._takes_lines

    def attach(self, line: UnclaimedLine, request: Request) -> None:
        """A request takes the place of one that asked the same, and whose caller is gone."""
        self.pending.attach(line.custom_id, request)

    # ---- the main flow ----

    async def run(self) -> None:
        """Live the batch's whole life. Raises nothing but Cancelled, which means: the engine stops, say goodbye."""
        try:
            await self._submit_and_watch()
            if self._must_go():
                self.log.cancelling()
                with anyio.move_on_after(CANCEL_PATIENCE_SECONDS):
                    await self.upstream.cancel()
            self._engine.release(self)
            with anyio.move_on_after(CLEAN_UP_SECONDS):
                await self.upstream.clean_up()
            self._close_log()
        except anyio.get_cancelled_exc_class():
            # Callers that were cancelled together with us get to leave first, so that it does not depend on the order
            # of tasks whether this batch counts as abandoned.
            await cancel_shielded_checkpoint()
            raise
        finally:
            self.close()
            with anyio.move_on_after(SHUTDOWN_SECONDS, shield=True):
                if self._must_not_outlive_us():
                    await self.upstream.cancel()
                await self.upstream.clean_up()
                self._close_log()
            self._tell_if_it_may_still_run()

    def _must_go(self) -> bool:
        """Whether it is to be cancelled, in case that it still runs."""
        wanted = self._engine.settings.cancel_abandoned_batches or self._is_overdue
        return wanted and not self._is_left_to_others and not self.upstream.has_ended

    async def _submit_and_watch(self) -> None:
        """The life of a batch that is not cut short. What fails in here fails the callers, not the engine."""
        try:
            if await self._begin():
                deadline = self._deadline_seconds()
                with anyio.move_on_after(deadline) as scope:
                    await self._watch()
                if scope.cancelled_caught:
                    self._is_overdue = True
                    self.pending.fail_all(outcomes.overdue_error_for(deadline), self.upstream.batch_id)
        except UpstreamError as error:
            if not self._notice_gone(error):
                self._fail(outcomes.unreachable_error_for(error))
        except JournalError as error:
            self._fail(outcomes.journal_error_for(error))
        except Exception as error:
            logger.exception("autobatcher: a defect in the engine, batch %s", self.upstream.batch_id)
            self._fail(outcomes.defect_error_for(error))
        finally:
            self._takes_lines = False
            if (self._is_settled and self.log.keeps_answers) or self._is_gone or self.upstream.never_was:
                self.log.drop_unanswered()

    def _fail(self, error_for: ErrorFor) -> None:
        self._is_left_to_others = self.log.is_kept
        self.pending.fail_all(error_for, self.upstream.batch_id)

    async def _begin(self) -> bool:
        """Upload and create; False if there is no batch to watch."""
        try:
            if not await self._upload():
                return False
            if await self._is_abandoned_within(self._engine.next_creation(self._account) - anyio.current_time()):
                return False
            was_created = await self.upstream.create(lambda: bool(self.pending), self.log.creating)
            self._created()
            return was_created
        except UpstreamError as error:
            self._not_submitted(error)
            return False

    async def _upload(self) -> bool:
        """Upload the lines of those who wait; False if nobody does, or if the upstream refused some of the lines."""
        async with self._engine.uploads:  # until it is our turn; see `UpstreamBatch.upload` for the tries
            lines = list(self.pending.requests())
        self._lines = [custom_id for custom_id, _ in lines]
        if lines:
            await self.log.intend(lines)
        try:
            if not lines or not await self.upstream.upload(lines, self._engine.uploads, lambda: bool(self.pending)):
                return False
        except UpstreamError as error:
            problems = outcomes.problems_at_upload(error, self._account.provider)
            if not self._refuse_lines(problems, error.status_code or 400):
                raise
            self.upstream.tell_not_submitted(error.summary)
            return False
        for _, request in lines:
            request.unqueue()
        return True

    def _not_submitted(self, error: UpstreamError) -> None:
        """The upstream did not take the file or the batch: for want of room, or for good."""
        give_up = outcomes.unsubmitted_error_for(error, self.upstream.idempotency_key)
        if error.is_throttled or (error.status_code == 413 and len(self._lines) > 1):
            self._wait_for_room(error.retry_after or 0.0, error.summary, give_up)
        else:
            # Whoever tries again after an uncertain creation finds it in the journal: it must not be cancelled then.
            self._is_left_to_others = self.log.is_kept and self.upstream.may_exist_unseen
            self.upstream.tell_not_submitted(error.summary)
            self.pending.fail_all(give_up, None)

    def _created(self) -> None:
        self.pending.batch_id = self.upstream.batch_id
        if self.upstream.state is not None:
            self.log.moved(self.upstream.state)

    # ---- where a batch of an earlier process differs: see `ResumedBatch` ----

    _first_poll_at_once = False

    def _deadline_seconds(self) -> float:
        """How long from now on the batch may take."""
        return self._engine.settings.batch_deadline_seconds

    def _see(self, state: BatchState) -> None:
        """A poll was answered."""

    def _ended_without_us(self, state: BatchState) -> bool:
        """Whether its end is no answer to those whose lines got none, so that they try anew."""
        return False

    def _notice_gone(self, error: UpstreamError) -> bool:
        """Whether the upstream has forgotten the batch, and that was seen to."""
        return False

    _is_gone = False
    """Whether the upstream has forgotten it."""

    # ---- until its end ----

    async def _watch(self) -> None:
        """Poll until the batch ends, or until it is abandoned; read results as soon as they can be read."""
        schedule = Schedule(self._engine.settings.poll_interval_seconds)
        last_seen = anyio.current_time()
        last_told: tuple[object, ...] = ()
        wait = 0.0 if self._first_poll_at_once else schedule.next_wait(self._engine.batch_count)
        while not await self._is_abandoned_within(wait):
            try:
                state = await self._poll()
            except UpstreamError as error:
                if anyio.current_time() - last_seen > (UNSEEN_SECONDS if error.is_retryable else REFUSED_SECONDS):
                    raise
                wait = max(schedule.next_wait(self._engine.batch_count), wait_of(error, 0.0))
                continue
            last_seen = anyio.current_time()
            has_moved = last_told != (state.status, state.counts)
            last_told = (state.status, state.counts)
            if has_moved:
                self._moved(state)
            self._see(state)
            if state.is_terminal:
                await self._finish(state)
                return
            (schedule.moved if has_moved else schedule.unmoved)()
            if has_moved and self._account.provider.partial_output:
                await self._reader.read_new_lines(state)
                self._tell_resubmitted()
            wait = schedule.next_wait(self._engine.batch_count)

    async def _poll(self) -> BatchState:
        assert self.upstream.state is not None
        async with self._engine.polls:
            state = await self._engine.api.retrieve(self._account, self.upstream.state.id)
        self.upstream.state = state
        return state

    def _moved(self, state: BatchState) -> None:
        self.upstream.tell_counted(events.BatchProgress, status=state.status)
        self.log.moved(state)
        if state.status in ("in_progress", "finalizing", "completed") and not self.was_taken:
            self.was_taken = True
            self._engine.taken(len(self._lines), self.key)

    async def _is_abandoned_within(self, seconds: float) -> bool:
        """Wait so long; True as soon as nobody waits any more and the batch should go, too."""
        if not self._engine.settings.cancel_abandoned_batches:
            await anyio.sleep(max(0.0, seconds))
            return False
        if self.log.is_kept:
            return await self._is_given_up_within(seconds)
        with anyio.move_on_after(seconds):
            await self.pending.abandoned.wait()
        return self.pending.abandoned.is_set()

    async def _is_given_up_within(self, seconds: float) -> bool:
        """The same where those who left may come back: not before `COME_BACK_SECONDS` have passed without anybody."""
        until, abandoned = anyio.current_time() + seconds, self.pending.abandoned
        with anyio.CancelScope(deadline=until):
            await abandoned.wait()
        if not abandoned.is_set():
            return False
        if self._given_up is not abandoned:  # they left since we last looked, perhaps once more
            self._given_up, self._given_up_at = abandoned, anyio.current_time() + COME_BACK_SECONDS
        await anyio.sleep_until(min(until, self._given_up_at))
        return self.pending.abandoned is abandoned and anyio.current_time() >= self._given_up_at

    async def _finish(self, state: BatchState) -> None:
        """The batch has ended: read both files, settle by custom_id, then settle the rest by what the status says."""
        self.upstream.has_ended = True
        logger.info("autobatcher: batch %s %s", state.id, state.status)
        if not self.log.keeps_answers:
            self._takes_lines = False  # a line that is read while nobody waits for it is lost: it must be read again
        self.pending.wants_answers_only = self._ended_without_us(state)
        unreadable = await self._reader.read_everything(await self._with_its_files(state))
        if unreadable is not None and self._notice_gone(unreadable):
            return
        if unreadable is not None:
            self.pending.fail_all(outcomes.unreachable_error_for(unreadable), state.id)
        elif self._ended_without_us(state):
            self._send_again(f"their batch had ended as {state.status} without them")
        elif state.status == "failed":
            self._settle_failed(state)
        self.pending.fail_all(outcomes.ended_error_for(state), state.id)
        self._is_settled = unreadable is None
        self._tell_resubmitted()
        if state.status == "completed":
            self.upstream.tell_counted(events.BatchCompleted)
        else:
            self.upstream.tell_counted(events.BatchTerminal, status=state.status)

    async def _with_its_files(self, state: BatchState) -> BatchState:
        """The state once it names its output file, if its counts say that there must be one."""
        begun = anyio.current_time()
        schedule = Schedule(self._engine.settings.poll_interval_seconds)
        while state.lacks_output_file and anyio.current_time() - begun < LATE_FILE_SECONDS:
            await anyio.sleep(schedule.next_wait(self._engine.batch_count))
            try:
                state = await self._poll()
            except UpstreamError as error:
                logger.info("autobatcher: batch %s: %s", state.id, error.summary)
        return state

    def _settle_failed(self, state: BatchState) -> None:
        """A batch that failed as a whole: for want of room, because of single lines, or for all."""
        if outcomes.is_throttled(state):
            self._wait_for_room(0.0, "the batch failed for want of room", outcomes.ended_error_for(state))
        else:
            self._refuse_lines(state.problems, 400)

    # ---- requests that go into another batch ----

    def _send_again(self, reason: str) -> None:
        """Whoever waits goes into a new batch, at once; that is no retry."""
        requests = self.pending.take_all()
        if requests:
            self._engine.put_back(requests, self.key)
            self.upstream.tell_resubmitted(len(requests), reason)

    def _wait_for_room(self, asked_seconds: float, reason: str, give_up: ErrorFor) -> None:
        """Everyone goes back to the queue until the upstream has room; that is no failure, and no retry."""
        requests, sent = self.pending.take_all(), len(self._lines)
        given_up = self._engine.throttled(requests, self.key, sent=sent, asked_seconds=asked_seconds)
        for request in given_up:  # before anything is told: a handler's exception must leave nobody behind
            request.settle(give_up(request, self.upstream.batch_id))
        if len(given_up) < len(requests):
            self.upstream.tell_resubmitted(len(requests) - len(given_up), "the upstream has no room for them now")
        if given_up:
            self.upstream.tell_not_submitted(reason)

    def _refuse_lines(self, problems: tuple[Problem, ...], status_code: int) -> bool:
        """Fail the lines that are to blame, and put the others back at once; False if no line of ours is to blame."""
        to_blame = {self._lines[p.line - 1]: p for p in problems if p.line and 0 < p.line <= len(self._lines)}
        if not to_blame:
            return False
        for custom_id, problem in to_blame.items():
            self.pending.refuse(custom_id, problem, status_code, self.upstream.batch_id)
        requests = self.pending.take_all()
        if requests:
            self._engine.put_back(requests, self.key)
            self.upstream.tell_resubmitted(len(requests), "other lines of their batch were refused")
        return True

    def _tell_resubmitted(self) -> None:
        count = self.pending.count_resubmitted()
        if count:
            self.upstream.tell_resubmitted(count, "they failed in passing")

    # ---- leaving ----

    def close(self) -> None:
        """The engine stops: whoever still waits is told so, at once. The first call counts."""
        if not self._is_closed:
            self._is_closed = True
            self._was_abandoned = self.pending.abandoned.is_set()
            self.pending.fail_all(outcomes.closed_error, self.upstream.batch_id)

    def _must_not_outlive_us(self) -> bool:
        settings = self._engine.settings
        if self._is_overdue:
            return True
        if self.log.is_kept and self._engine.leaves_batches:
            return False
        if settings.cancel_active_batches_on_close:
            return True
        if self.log.is_kept and not self._engine.ends_well:
            return False  # it is found again, and its callers may be, too
        is_abandoned = self._was_abandoned and settings.cancel_abandoned_batches
        return is_abandoned or (self.upstream.may_exist_unseen and not self.log.is_kept)

    def _close_log(self) -> None:
        """Tell the journal if nothing is left to be done."""
        if self.upstream.never_was:
            self.log.forget()
        elif self._is_gone:
            self.log.gone()
        elif self._is_settled or self._has_nothing_left_to_read():
            self.log.end()

    def _has_nothing_left_to_read(self) -> bool:
        """Whether we saw it end and all its lines are settled, although a file may not be read to its end.

        What only the journal says of its end does not count: its input file is still there.
        """
        state = self.upstream.state
        has_ended = self.upstream.has_ended and state is not None and state.is_terminal
        return has_ended and not self.log.has_unclaimed_lines and not self.pending

    def _tell_if_it_may_still_run(self) -> None:
        """Somebody wanted it gone, and the time for that ran out."""
        if self._must_not_outlive_us() and (self.upstream.may_exist_unseen or self.upstream.is_active):
            self.upstream.tell_cancel_failed("no answer in time")
