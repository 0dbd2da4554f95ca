"""The end of a batch's life: it is cancelled, left, finished or forgotten, at leisure or while the engine stops."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from ... import events
from ...upstream.account import Account
from .. import outcomes
from ..recovery.batch_log import BatchLog
from .billing import BatchBilling
from .cancellation import CANCEL_PATIENCE_SECONDS, Cancellation
from .engine import Engine
from .pending import PendingRequests
from .phase import MAY_RUN, Cause, Disposition, Ending, Phase, disposition
from .results import ResultReader
from .statement import with_statement
from .upstream import UpstreamBatch
from .watch import Watch

SHUTDOWN_SECONDS = 10.0
"""How long a batch may take to cancel itself upstream while the engine stops, in seconds. It takes a few quick calls,
and whoever closes a client or stops a process waits for it. A creation in flight is awaited first: see
`CREATE_SECONDS`."""

LAST_LOOK_AT_SHUTDOWN_SECONDS = 3.0
"""How long one last poll may take while the engine stops: long enough for a slow server, and whoever closes waits."""

PRICE_SECONDS = 900.0
"""How long the engine waits, while it keeps running, to learn what a cancelled batch cost. OpenAI may take ten minutes
to cancel one."""

CLEAN_UP_SECONDS = 60.0
"""How long the engine tries to delete the files of a finished batch while it keeps running. They expire anyway."""


class Leaving:
    """Ends the life of one batch.

    Args:
        cancellation: how it is cancelled.
    """

    def __init__(
        self,
        upstream: UpstreamBatch,
        pending: PendingRequests,
        log: BatchLog,
        watch: Watch,
        reader: ResultReader,
        billing: BatchBilling,
        cancellation: Cancellation,
        account: Account,
        engine: Engine,
    ) -> None:
        self._upstream = upstream
        self._pending = pending
        self._log = log
        self._watch = watch
        self._reader = reader
        self._billing = billing
        self._cancellation = cancellation
        self._account = account
        self._engine = engine
        self._had_all_answers = False  # when the engine stopped
        self._was_read = False  # to the end, for the sake of prices
        self._has_heard = False  # what the provider states
        self._cause: Cause | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the life has ended."""
        return self._cause is not None

    def close(self) -> None:
        """Fail the pending requests at once, because the engine stops. Can be called again."""
        if self._cause is None:
            # Of a shared journal, those who left may be on their way to another engine, which takes the batch.
            is_abandoned = self._pending.abandoned.is_set() and not self._log.is_shared
            self._cause = Cause.ABANDONED if is_abandoned else Cause.STOPPED
            self._had_all_answers = not self._pending and not self._log.has_unclaimed_lines
        self._pending.fail_all(outcomes.closed_error, self._upstream.batch_id)

    def conclude(self, cause: Cause) -> None:
        """Record why the batch's life ended. Drop unclaimed lines that cannot be answered any more."""
        if self._cause is None:
            self._cause = cause
        what = self._disposition(Ending.NOT_YET)
        if what is Disposition.FORGET or (what is Disposition.FINISHED and self._log.keeps_answers):
            self._log.drop_unanswered()

    async def finish(self, release: Callable[[], None]) -> None:
        """Carry out the batch's disposition while the engine keeps running.

        Args:
            release: gives the batch's place among the active ones to another one.
        """
        what = self._disposition(Ending.NOT_YET)
        if what is Disposition.CANCEL:
            with anyio.move_on_after(CANCEL_PATIENCE_SECONDS):
                await self._cancel()
        release()
        with anyio.move_on_after(PRICE_SECONDS):
            await self._find_out_prices()
        if what is Disposition.LEAVE and self._log.is_journaled and self._upstream.phase in MAY_RUN:
            # Callers may retry, and then a new `Batch` takes over. If none does, the shutdown of the engine decides.
            await self._log.until_taken_up()
            return
        with anyio.move_on_after(CLEAN_UP_SECONDS):
            await self._clean_up(what)

    async def shut_down(self, ending: Ending) -> None:
        """Carry out the batch's disposition while the engine stops. Cancelled: the batch may run on."""
        if self._disposition(ending) is Disposition.CANCEL:
            await self._cancel()
        elif self._upstream.phase is Phase.RUNNING and ending is not Ending.NOT_YET:
            await self._look_for_the_last_time()
        elif self._upstream.phase is Phase.READING and self._cause is not Cause.FAILED:
            self._upstream.emit_end()  # it was seen to end, and its files were being read
        with anyio.move_on_after(LAST_LOOK_AT_SHUTDOWN_SECONDS):
            await self._find_out_prices(waits=False)
        await self._clean_up(self._disposition(ending))

    def end(self, ending: Ending) -> None:
        """Book and tell what `shut_down` had no time for."""
        what = self._disposition(ending)
        self._settle_bill(what)
        if self._upstream.phase in MAY_RUN and what is Disposition.CANCEL:
            self._upstream.emit_cancel_failed("no answer in time")

    async def _look_for_the_last_time(self) -> None:
        """Poll a batch that is left running, and report its end if it has ended or all of its lines are answered."""
        was_answered = self._cause is Cause.STOPPED and self._had_all_answers
        with anyio.move_on_after(LAST_LOOK_AT_SHUTDOWN_SECONDS):
            await self._watch.check_once()
        if was_answered and self._upstream.phase is Phase.READING:
            self._upstream.phase = Phase.READ
        if was_answered or self._upstream.phase is not Phase.RUNNING:
            self._upstream.emit_end()
        else:
            self._upstream.emit_event(events.BatchLeft)

    async def _find_out_prices(self, *, waits: bool = True) -> None:
        """Read what lines cost that nobody waits for, in a batch that was cancelled or was read for others.

        Args:
            waits: whether to wait for the end of a batch that is being cancelled.
        """
        if not self._billing.wants_lines:
            return
        if self._upstream.phase in (Phase.CANCELLED, Phase.READ):
            await self._read_for_prices(waits=waits)
        await self._hear_statement()

    async def _read_for_prices(self, *, waits: bool) -> None:
        if self._upstream.phase is Phase.CANCELLED:
            await (self._watch.until_terminal() if waits else self._watch.check_once())
        state = self._upstream.state
        if state is not None and state.is_terminal and not self._log.handed_over.is_set():
            self._was_read = self._reader.has_read_all(state) or await self._reader.read_for_prices(state)

    async def _hear_statement(self) -> None:
        """Ask the provider, once, what the batch cost, if its answers do not tell."""
        state, needs_statement = self._upstream.state, self._billing.needs_statement(was_read=self._was_read)
        if state is None or not needs_statement or self._has_heard or self._log.handed_over.is_set():
            return
        self._has_heard = state.is_terminal
        self._upstream.state = await with_statement(state, self._account, self._engine)

    async def _cancel(self) -> None:
        self._log.cancelling()
        await self._cancellation.run()

    async def _clean_up(self, what: Disposition) -> None:
        """Delete the input file if it is not needed. End or forget the record if nothing is left to do."""
        await self._upstream.clean_up()
        if self._billing.needs_statement(was_read=self._was_read):
            await self._engine.spending.warm(is_needed=True)
        self._settle_bill(what)
        if what is Disposition.FINISHED:
            self._log.end()
        elif what is Disposition.FORGET:
            self._log.forget()

    def _settle_bill(self, what: Disposition) -> None:
        """Book what may have been executed, unless a journal keeps the batch for others."""
        is_kept_open = what is Disposition.LEAVE and self._log.is_journaled
        if self._was_read or not is_kept_open:
            for charge in self._billing.end(was_read=self._was_read):
                self._log.charged(charge)

    def _disposition(self, ending: Ending) -> Disposition:
        assert self._cause is not None
        if self._log.handed_over.is_set():  # another life of this batch, for callers who came back, decides
            return Disposition.LEAVE
        settings = self._engine.settings
        return disposition(
            self._upstream.phase,
            self._cause,
            ending,
            is_journaled=self._log.is_journaled,
            keeps_answers=self._log.keeps_answers,
            has_unread_lines=self._log.has_unclaimed_lines or bool(self._pending),
            cancels_abandoned=settings.cancel_abandoned_batches,
            cancels_on_close=self._engine.cancels_on_close,
        )
