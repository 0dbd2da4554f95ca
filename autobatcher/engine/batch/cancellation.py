"""Cancelling one batch upstream, and making sure of it."""

from __future__ import annotations

import anyio

from ... import events
from ...upstream.account import Account
from ...upstream.back_off import back_off, retry_delay
from ...upstream.batch_api import BatchAPI
from ...upstream.batch_state import BatchState
from ...upstream.failures import UpstreamError
from ...upstream.patience import REFUSED_SECONDS, Patience
from .phase import Phase
from .upstream import UpstreamBatch


class Cancellation:
    """Cancels what may still run.

    Args:
        patience: how many refusals are borne before the batch is left to run.
    """

    def __init__(
        self, batch: UpstreamBatch, account: Account, api: BatchAPI, *, patience: Patience | None = None
    ) -> None:
        self._batch = batch
        self._account = account
        self._api = api
        self._patience = patience or Patience(REFUSED_SECONDS)

    async def run(self) -> None:
        """Cancel the batch: until the upstream confirms it, until its refusal is believed, or until time is up.

        A creation of unknown outcome is looked up first: it may run and cost, too.

        Cancelled: the request to cancel may have been sent or not; running this again is harmless.
        """
        batch = self._batch
        try:
            if batch.phase is Phase.CREATING and not await batch.look_up():
                batch.phase = Phase.UNCONFIRMED
                batch.emit_cancel_failed("its creation was cut off; it may yet appear")
            if batch.phase is not Phase.RUNNING:
                return
            batch.emit_event(events.BatchCancelRequested)
            is_ours = await self._cancel_until_confirmed()
        except UpstreamError as error:
            batch.phase = Phase.UNCONFIRMED
            batch.emit_cancel_failed(error.summary)
            return
        batch.phase = Phase.CANCELLED
        if is_ours:
            batch.emit_cancelled()

    async def _cancel_until_confirmed(self) -> bool:
        """Whether it stops because of us; False if it had ended before. Raises `UpstreamError` if it is refused."""
        assert self._batch.state is not None
        batch_id, delays = self._batch.state.id, back_off()
        while True:
            try:
                await self._api.cancel(self._account, batch_id)
                return True
            except UpstreamError as error:
                refused = error
            # Servers answer 400, 404, 409 and 500 for a batch that has ended, so each failure is a reason to look.
            state = await self._poll(batch_id)
            if state is not None and (state.status == "cancelling" or state.is_terminal):
                return state.status in ("cancelling", "cancelled")
            if not refused.is_retryable and self._patience.runs_out(anyio.current_time()):
                raise _refused_error(state, refused) from refused
            await anyio.sleep(retry_delay(refused, next(delays)))

    async def _poll(self, batch_id: str) -> BatchState | None:
        """What the upstream says of it; None if it does not say."""
        try:
            return await self._api.retrieve(self._account, batch_id)
        except UpstreamError:
            return None


def _refused_error(state: BatchState | None, refused: UpstreamError) -> UpstreamError:
    status = "cannot be looked at" if state is None else f"is {state.status}"
    reason = f"{refused.summary}, and the batch {status}"
    return UpstreamError(reason, summary=reason)
