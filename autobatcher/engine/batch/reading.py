"""Reads the results of a batch that has ended, and settles its requests."""

from __future__ import annotations

import anyio

from ...upstream.failures import UpstreamError
from ...upstream.patience import REFUSED_SECONDS, Patience
from .. import outcomes
from .agreement import AGREEING_READINGS, AGREEMENT_SECONDS, agrees, lacks_results
from .cutoff import Cutoff
from .pending import PendingRequests
from .requeue import Requeue
from .results import ResultReader
from .source import Source
from .upstream import UpstreamBatch
from .watch import Watch

READING_SECONDS = 30.0
"""How long reading may take before lines are paid for twice: 200 MB at 10 MB/s take 20 seconds."""

_ENDED_WITHOUT_THEM = frozenset({"failed", "expired"})
"""Statuses of batches whose lines may have answers on another lane. Who cancels a batch wants it to stop."""


class Reading:
    """Reads one ended batch until its counts and its files agree.

    Args:
        resubmits_missing: whether a line that the batch counts as done, and that is in neither file, is retried.
    """

    def __init__(
        self,
        upstream: UpstreamBatch,
        pending: PendingRequests,
        reader: ResultReader,
        watch: Watch,
        requeue: Requeue,
        source: Source,
        cutoff: Cutoff,
        *,
        resubmits_missing: bool,
    ) -> None:
        self._upstream = upstream
        self._pending = pending
        self._reader = reader
        self._watch = watch
        self._requeue = requeue
        self._source = source
        self._cutoff = cutoff
        self._resubmits_missing = resubmits_missing

    async def run(self) -> UpstreamError | None:
        """Read both files, and read them again while lines are missing that the batch's counts do not account for.

        Nothing is resent meanwhile: the lines may have been paid for. Returns why the files cannot be read.
        """
        self._pending.answers_only = self._resends_unanswered()
        return await self._cutoff.until_payers_leave(self._until_agreed, least_seconds=READING_SECONDS)

    async def _until_agreed(self) -> UpstreamError | None:
        patience, longer_patience = Patience(AGREEMENT_SECONDS, least=AGREEING_READINGS), Patience(REFUSED_SECONDS)
        while True:
            assert self._upstream.state is not None
            before = self._reader.results_read
            unreadable = await self._reader.read_everything(self._upstream.state)
            if unreadable is not None or not self._pending.wants_lines:
                return unreadable
            if self._reader.results_read > before:
                patience.reset()
                longer_patience.reset()
            if agrees(self._upstream.state, self._reader.results_read):
                return None
            ran_out, longer_ran_out = (each.runs_out(anyio.current_time()) for each in (patience, longer_patience))
            if longer_ran_out if self._lacks_results() else ran_out:
                return None
            await self._watch.look_again()

    def settle_rest(self, reason: str | None) -> None:
        """Settle the requests whose lines are in neither file: resend them, or fail them with how the batch ended.

        Args:
            reason: why it did, in words that may be shown; None if nobody says.
        """
        state = self._upstream.state
        assert state is not None
        for custom_id, line in self._reader.unreadable.items():
            self._pending.fail(custom_id, outcomes.unreadable_error_for(line), state.id)
        self._pending.may_be_executed = self._lacks_results()
        may_resend = self._resubmits_missing or not self._lacks_results()
        if not may_resend and self._cutoff.was_reached:
            self._requeue.pay_twice()
        if may_resend and self._cutoff.was_reached:
            self._requeue.send_on("their batch could not end in time")
        elif may_resend and self._resends_unanswered():
            self._requeue.resend(f"their batch had ended as {state.status} without them")
        elif state.status == "failed" and outcomes.is_throttled(state):
            error_of = outcomes.ended_error_of(state)
            why = "the upstream has no capacity for the batch"
            self._requeue.throttle(0.0, why, lambda request, batch_id: error_of(request.custom_id))
        elif state.status == "failed":
            self._requeue.reject_lines(state.problems, 400)
        if may_resend and state.status in _ENDED_WITHOUT_THEM:
            self._requeue.send_hurried_on(f"their batch had ended as {state.status} without them")
        error_of = outcomes.ended_error_of(state, resubmits_missing=self._resubmits_missing, was_paid=not may_resend)
        is_final = not may_resend or (state.status == "cancelled" and not self._resends_unanswered())
        self._pending.fail_rest(error_of, reason, tells_others=is_final)

    def _lacks_results(self) -> bool:
        assert self._upstream.state is not None
        return lacks_results(self._upstream.state, self._reader.results_read, self._reader.unfinished_read)

    def _resends_unanswered(self) -> bool:
        assert self._upstream.first_state is not None
        assert self._upstream.state is not None
        return self._cutoff.was_reached or self._source.resends_unanswered(
            self._upstream.first_state, self._upstream.state
        )
