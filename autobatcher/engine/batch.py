"""One batch inside one task: submit, watch, finish, and a bounded goodbye on the way out."""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Hashable, Iterator
from typing import Protocol

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint

from .. import events
from ..upstream.batch_api import BatchAPI, wait_of
from ..upstream.batch_state import BatchState, Problem
from ..upstream.failures import UpstreamError
from . import outcomes
from .polling import Schedule
from .reading import REFUSED_SECONDS, ResultReader
from .request import ErrorFor, Request
from .settings import Settings
from .upstream_batch import Emit, UpstreamBatch
from .waiting import Waiting
from .window import travel_key

logger: logging.Logger = logging.getLogger("autobatcher")

GOODBYE_SECONDS = 10.0
"""How long cancelling upstream may take while the engine stops: it is a few quick calls, and whoever closes a client or
stops a process waits for it. A creation on its way is awaited first: see `CREATE_SECONDS`."""

CANCEL_PATIENCE_SECONDS = 3600.0
"""How long an abandoned batch is tried to be cancelled upstream while the engine runs on."""

CLEAN_UP_SECONDS = 60.0
"""How long files of a finished batch are tried to be deleted while the engine runs on; they expire anyway."""

UNSEEN_SECONDS = 86_400.0
"""How long polls may fail in passing (5xx, no connection) before the batch counts as out of reach."""

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

    def next_creation(self, account_of: Request) -> float: ...

    def resubmit(self, request: Request) -> bool: ...

    def put_back(self, requests: list[Request], key: Hashable) -> None: ...

    def pressed(self, requests: list[Request], key: Hashable, *, sent: int, asked_seconds: float) -> list[Request]: ...

    def release(self, batch: Batch) -> None: ...

    def taken(self, requests: int, key: Hashable) -> None: ...


class Batch:
    """The requests of one window on their way through one upstream batch.

    Args:
        requests: at least one, all of one account and of kinds that may travel together.
    """

    def __init__(self, requests: list[Request], engine: Engine) -> None:
        stamp = uuid.uuid4().hex
        first = requests[0]
        self.key: Hashable = travel_key(first)
        self.waiting: Waiting = Waiting(dict(zip(_custom_ids(stamp), requests, strict=False)), engine.resubmit)
        self.upstream: UpstreamBatch = UpstreamBatch(
            first.account, first.endpoint, stamp, api=engine.api, settings=engine.settings, emit=engine.emit
        )
        self._first = first
        self._engine = engine
        self._reader = ResultReader(engine.api, first.account, self.waiting)
        self._lines: list[str] = []  # custom_ids in the order of the input file
        self.was_taken: bool = False  # the upstream worked on it, so that its end makes room there
        self._is_overdue = False
        self._is_closed = False
        self._was_deserted = False

    # ---- the main flow ----

    async def run(self) -> None:
        """Live the batch's whole life. Raises nothing but Cancelled, which means: the engine stops, say goodbye."""
        try:
            await self._submit_and_watch()
            if self._engine.settings.cancel_abandoned_batches or self._is_overdue:
                with anyio.move_on_after(CANCEL_PATIENCE_SECONDS):
                    await self.upstream.cancel()
            self._engine.release(self)
            with anyio.move_on_after(CLEAN_UP_SECONDS):
                await self.upstream.clean_up()
        except anyio.get_cancelled_exc_class():
            # Callers that were cancelled together with us get to leave first, so that it does not depend on the order
            # of tasks whether this batch counts as abandoned.
            await cancel_shielded_checkpoint()
            raise
        finally:
            self.close()
            with anyio.move_on_after(GOODBYE_SECONDS, shield=True):
                if self._must_not_outlive_us():
                    await self.upstream.cancel()
                await self.upstream.clean_up()
            self._tell_if_it_may_still_run()

    async def _submit_and_watch(self) -> None:
        """The life of a batch that is not cut short. What fails in here fails the callers, not the engine."""
        deadline = self._engine.settings.batch_deadline_seconds
        try:
            if await self._submit():
                with anyio.move_on_after(deadline) as scope:
                    await self._watch()
                if scope.cancelled_caught:
                    self._is_overdue = True
                    self.waiting.fail_all(outcomes.overdue_error_for(deadline), self.upstream.batch_id)
        except UpstreamError as error:
            self.waiting.fail_all(outcomes.unreachable_error_for(error), self.upstream.batch_id)
        except Exception as error:
            logger.exception("autobatcher: a defect in the engine, batch %s", self.upstream.batch_id)
            self.waiting.fail_all(outcomes.defect_error_for(error), self.upstream.batch_id)

    async def _submit(self) -> bool:
        """Upload and create; False if there is no batch to watch."""
        try:
            if not await self._upload():
                return False
            if await self._is_abandoned_within(self._engine.next_creation(self._first) - anyio.current_time()):
                return False
            was_created = await self.upstream.create(lambda: bool(self.waiting))
            self.waiting.batch_id = self.upstream.batch_id
            return was_created
        except UpstreamError as error:
            self._not_submitted(error)
            return False

    async def _upload(self) -> bool:
        """Upload the lines of those who wait; False if nobody does, or if the upstream refused some of the lines."""
        async with self._engine.uploads:  # until it is our turn; see `UpstreamBatch.upload` for the tries
            lines = list(self.waiting.requests())
        self._lines = [custom_id for custom_id, _ in lines]
        try:
            if not lines or not await self.upstream.upload(lines, self._engine.uploads, lambda: bool(self.waiting)):
                return False
        except UpstreamError as error:
            problems = outcomes.problems_at_upload(error, self._first.account.provider)
            if not self._refuse_lines(problems, error.status_code or 400):
                raise
            self.upstream.tell_not_submitted(error.summary)
            return False
        for _, request in lines:
            request.unqueue()
        return True

    def _not_submitted(self, error: UpstreamError) -> None:
        """The upstream did not take the file or the batch: for want of room, or for good."""
        give_up = outcomes.unsubmitted_error_for(error, self.upstream.stamp)
        if error.is_pressure or (error.status_code == 413 and len(self._lines) > 1):
            self._wait_for_room(error.retry_after or 0.0, error.summary, give_up)
        else:
            self.upstream.tell_not_submitted(error.summary)
            self.waiting.fail_all(give_up, None)

    async def _watch(self) -> None:
        """Poll until the batch ends, or until it is abandoned; read results as soon as they can be read."""
        schedule = Schedule(self._engine.settings.poll_interval_seconds)
        last_seen, asked_wait = anyio.current_time(), 0.0
        last_told: tuple[object, ...] = ()
        while not await self._is_abandoned_within(max(schedule.next_wait(self._engine.batch_count), asked_wait)):
            try:
                state = await self._poll()
            except UpstreamError as error:
                if anyio.current_time() - last_seen > (UNSEEN_SECONDS if error.is_passing else REFUSED_SECONDS):
                    raise
                asked_wait = wait_of(error, 0.0)
                continue
            last_seen, asked_wait = anyio.current_time(), 0.0
            has_moved = last_told != (state.status, state.counts)
            last_told = (state.status, state.counts)
            if has_moved:
                self._moved(state)
            if state.is_terminal:
                await self._finish(state)
                return
            (schedule.moved if has_moved else schedule.unmoved)()
            if has_moved and self._first.account.provider.partial_output:
                await self._reader.read_new_lines(state)
                self._tell_resubmitted()

    async def _poll(self) -> BatchState:
        assert self.upstream.state is not None
        async with self._engine.polls:
            state = await self._engine.api.retrieve(self._first.account, self.upstream.state.id)
        self.upstream.state = state
        return state

    def _moved(self, state: BatchState) -> None:
        self.upstream.tell_counted(events.BatchProgress, status=state.status)
        if state.status in ("in_progress", "finalizing", "completed") and not self.was_taken:
            self.was_taken = True
            self._engine.taken(len(self._lines), self.key)

    async def _is_abandoned_within(self, seconds: float) -> bool:
        """Wait so long; True as soon as nobody waits any more and the batch should go, too."""
        if not self._engine.settings.cancel_abandoned_batches:
            await anyio.sleep(max(0.0, seconds))
            return False
        with anyio.move_on_after(seconds):
            await self.waiting.deserted.wait()
        return self.waiting.deserted.is_set()

    async def _finish(self, state: BatchState) -> None:
        """The batch has ended: read both files, settle by custom_id, then settle the rest by what the status says."""
        self.upstream.has_ended = True
        logger.info("autobatcher: batch %s %s", state.id, state.status)
        unreadable = await self._reader.read_everything(await self._with_its_files(state))
        if unreadable is not None:
            self.waiting.fail_all(outcomes.unreachable_error_for(unreadable), state.id)
        elif state.status == "failed":
            self._settle_failed(state)
        self.waiting.fail_all(outcomes.ended_error_for(state), state.id)
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
        if outcomes.is_pressure(state):
            self._wait_for_room(0.0, "the batch failed for want of room", outcomes.ended_error_for(state))
        else:
            self._refuse_lines(state.problems, 400)

    # ---- requests that go into another batch ----

    def _wait_for_room(self, asked_seconds: float, reason: str, give_up: ErrorFor) -> None:
        """Everyone goes back to the queue until the upstream has room; that is no failure, and no retry."""
        requests, sent = self.waiting.take_all(), len(self._lines)
        given_up = self._engine.pressed(requests, self.key, sent=sent, asked_seconds=asked_seconds)
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
            self.waiting.refuse(custom_id, problem, status_code, self.upstream.batch_id)
        requests = self.waiting.take_all()
        if requests:
            self._engine.put_back(requests, self.key)
            self.upstream.tell_resubmitted(len(requests), "other lines of their batch were refused")
        return True

    def _tell_resubmitted(self) -> None:
        count = self.waiting.count_resubmitted()
        if count:
            self.upstream.tell_resubmitted(count, "they failed in passing")

    # ---- leaving ----

    def close(self) -> None:
        """The engine stops: whoever still waits is told so, at once. The first call counts."""
        if not self._is_closed:
            self._is_closed = True
            self._was_deserted = self.waiting.deserted.is_set()
            self.waiting.fail_all(outcomes.closed_error, self.upstream.batch_id)

    def _must_not_outlive_us(self) -> bool:
        settings = self._engine.settings
        return (
            self.upstream.may_exist_unseen
            or self._is_overdue
            or settings.cancel_active_batches_on_close
            or (self._was_deserted and settings.cancel_abandoned_batches)
        )

    def _tell_if_it_may_still_run(self) -> None:
        """Somebody wanted it gone, and the time for that ran out."""
        if self._must_not_outlive_us() and (self.upstream.may_exist_unseen or self.upstream.is_active):
            self.upstream.tell_cancel_failed("no answer in time")


def _custom_ids(stamp: str) -> Iterator[str]:
    """custom_ids that no other batch of anyone has: at most 64 characters of [0-9a-z-], as every provider takes."""
    return (f"{stamp}-{number}" for number in itertools.count())
