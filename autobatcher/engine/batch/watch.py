"""Polls one batch until it ends."""

from __future__ import annotations

import logging
from collections.abc import Hashable

import anyio

from ... import events
from ...upstream.account import Account
from ...upstream.back_off import back_off, retry_delay
from ...upstream.batch_state import BatchState
from ...upstream.failures import UpstreamError
from ...upstream.patience import Patience, ReadPatience
from ..poll_hints import PollHint
from ..recovery.batch_log import BatchLog
from ..tracer import BatchTrace
from .abandonment import Abandonment
from .engine import Engine
from .forecast import Forecast
from .listing import ListedBatch
from .poll_schedule import Schedule
from .requeue import Requeue
from .results import ResultReader
from .upstream import UpstreamBatch

logger: logging.Logger = logging.getLogger("autobatcher")

LAST_LOOK_SECONDS = 900.0
LAST_LOOK_TRIES = 5
"""How long, and how often at least, a batch is polled after its deadline. It may have ended while the process was
paused, and its answers are paid for."""


class Watch:
    """Polls one batch and reports its progress.

    When it is polled next: as its `Schedule` says, which polls less often while the end is far by the batch's own speed
    (`Forecast`), or by how long its like took before its first line is done; with others at multiples of the interval,
    if a list is shared; at once upon a hint; and never before the time that the upstream asks for.

    Args:
        key: the batch's `travel_key`.

    Attributes:
        was_accepted: whether the upstream worked on the batch, so that its end frees capacity there.
    """

    def __init__(
        self,
        upstream: UpstreamBatch,
        log: BatchLog,
        reader: ResultReader,
        requeue: Requeue,
        abandonment: Abandonment,
        trace: BatchTrace,
        *,
        account: Account,
        key: Hashable,
        engine: Engine,
    ) -> None:
        self.was_accepted: bool = False
        self._upstream = upstream
        self._log = log
        self._reader = reader
        self._requeue = requeue
        self._abandonment = abandonment
        self._trace = trace
        self._account = account
        self._key = key
        self._engine = engine
        self._listed: ListedBatch | None = None
        self._forecast: Forecast | None = None  # None if each poll counts
        self._after_end = self._schedule()

    async def until_ended(self, *, begins_at_once: bool, is_urgent: bool = False) -> bool:
        """Poll until the batch ends; False if it is abandoned. Results are read as soon as the provider allows.

        Args:
            is_urgent: whether deadlines depend on seeing the end soon.

        Raises:
            UpstreamError: if polls fail permanently.
        """
        interval = self._engine.settings.poll_interval_seconds
        with self._engine.listings.watching(self._account, self._upstream, interval) as listed:
            self._listed = None if is_urgent else listed  # the batch itself tells first that it has ended
            return await self._until_ended(begins_at_once=begins_at_once, is_urgent=is_urgent)

    async def _until_ended(self, *, begins_at_once: bool, is_urgent: bool) -> bool:
        patience = ReadPatience()
        schedule, self._after_end = (self._schedule(is_urgent=is_urgent) for _ in range(2))
        self._forecast = None if is_urgent or self._account.provider.partial_output else Forecast()
        self._expect(schedule)
        last_seen: tuple[object, ...] = ()
        wait = 0.0 if begins_at_once else self._next_wait(schedule)
        hint = self._hint()
        while not await self._is_abandoned_within(wait, hint):
            try:
                state = await self._poll(None if hint.is_followed else self._listed)
            except UpstreamError as error:
                if patience.runs_out(error, anyio.current_time()):
                    raise
                wait = hint.next_wait(self._next_wait(schedule), retry_delay(error, 0.0))
                continue
            patience.reset()
            has_changed = last_seen != (state.status, state.counts)
            last_seen = (state.status, state.counts)
            if has_changed:
                self._record_progress(state)
            if state.is_terminal:
                return True
            if has_changed or hint.is_followed:
                schedule.changed()
            else:
                schedule.unchanged()
            self._expect(schedule)
            if has_changed and self._account.provider.partial_output:
                await self._reader.read_new_lines(state)
                self._requeue.emit_resubmitted()
            wait = hint.next_wait(self._next_wait(schedule))
        return False

    async def check_after_deadline(self) -> bool:
        """Poll once more after the deadline; return whether the batch has ended after all."""
        patience, delays = Patience(LAST_LOOK_SECONDS, least=LAST_LOOK_TRIES), back_off()
        while True:
            try:
                state = await self._poll()
            except UpstreamError as error:
                if patience.runs_out(anyio.current_time()):
                    return False
                await anyio.sleep(retry_delay(error, next(delays)))
            else:
                self._record_progress(state)
                return state.is_terminal

    async def check_once(self) -> None:
        """Poll once, and record what the poll says. A failure of it changes nothing."""
        try:
            self._record_progress(await self._poll())
        except UpstreamError as error:
            logger.info("autobatcher: batch %s: %s", self._upstream.batch_id, error.summary)

    async def until_terminal(self) -> None:
        """Poll a batch that is being cancelled until it has ended. Nobody waits for it: a failed poll is no news."""
        schedule = self._schedule()
        while self._upstream.state is None or not self._upstream.state.is_terminal:
            await anyio.sleep(schedule.next_wait(self._engine.batch_count))
            await self.check_once()
            schedule.unchanged()

    async def look_again(self) -> None:
        """Poll an ended batch once more, after a poll interval: it may name files or counts that it did not name."""
        await anyio.sleep(self._after_end.next_wait(self._engine.batch_count))
        self._after_end.unchanged()
        try:
            await self._poll()
        except UpstreamError as error:
            logger.info("autobatcher: batch %s: %s", self._upstream.batch_id, error.summary)

    def _hint(self) -> PollHint:
        assert self._upstream.batch_id is not None
        return self._engine.hints.of(self._upstream.batch_id)

    async def _is_abandoned_within(self, seconds: float, hint: PollHint) -> bool:
        """Wait up to `seconds`, or until a hint says that the batch has ended; False then."""
        with hint.pause():
            if await self._abandonment.happens_within(seconds):
                return True
        return False

    def _schedule(self, *, is_urgent: bool = False) -> Schedule:
        settings = self._engine.settings
        most_batches = settings.max_active_batches
        return Schedule(settings.poll_interval_seconds, most_batches=most_batches, is_urgent=is_urgent)

    def _expect(self, schedule: Schedule) -> None:
        """Tell the schedule how far the end is, by how many lines are done, or else by how long such batches take."""
        state, forecast = self._upstream.state, self._forecast
        if state is None or forecast is None:
            return
        forecast.saw(state, anyio.current_time())
        durations, kind = self._engine.dispatcher.durations, self._upstream.kind
        interval = self._engine.settings.poll_interval_seconds
        quiet = None if forecast.is_based else durations.quiet_seconds(kind, self._upstream.age_seconds, interval)
        schedule.expect(forecast.remaining(anyio.current_time()), quiet)

    def _next_wait(self, schedule: Schedule) -> float:
        shared_clock = None if self._listed is None else self._listed.clock
        if shared_clock is None:
            return schedule.next_wait(self._engine.batch_count)
        return schedule.next_shared_wait(shared_clock)

    async def _poll(self, listed: ListedBatch | None = None) -> BatchState:
        """Ask how the batch is, or have a list say that it runs."""
        assert self._upstream.state is not None
        state = None if listed is None else await listed.running_state()
        if state is None:
            async with self._engine.polls.turn(self._account):
                state = await self._engine.api.retrieve(self._account, self._upstream.state.id)
            if self._listed is not None:
                self._listed.checked(state)
        self._upstream.observe(state)
        self._trace.polled(state)
        return state

    def _record_progress(self, state: BatchState) -> None:
        self._upstream.emit_with_counts(events.BatchProgress, status=state.status)
        self._log.state_changed(state)
        if state.status in ("in_progress", "finalizing", "completed") and not self.was_accepted:
            self.was_accepted = True
            self._engine.queue.accepted(len(self._requeue.lines), self._key)
