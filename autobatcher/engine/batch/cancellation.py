"""Cancels one batch upstream, and confirms it."""

from __future__ import annotations

from collections.abc import Callable

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

CANCEL_PATIENCE_SECONDS = 3600.0
"""How long the engine tries to cancel an abandoned batch while it keeps running."""


class Cancellation:
    """Cancels a batch that may be running.

    Args:
        patience: how many refusals are tolerated before the batch is left running.
        is_wanted: asked before each try; the batch is left running as soon as it says no.
    """

    def __init__(
        self,
        batch: UpstreamBatch,
        account: Account,
        api: BatchAPI,
        *,
        patience: Patience | None = None,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self._batch = batch
        self._account = account
        self._api = api
        self._is_wanted = is_wanted
        self._patience = patience or Patience(REFUSED_SECONDS)

    async def request(self) -> None:
        """Ask the upstream to cancel a running batch, until it confirms that. The batch then has to be watched.

        Raises:
            UpstreamError: if the refusals count as permanent.

        Cancelled: the cancel request may have been sent. Asking again is harmless.
        """
        self._batch.emit_event(events.BatchCancelRequested)
        if await self._cancel_until_confirmed():
            self._batch.emit_cancelled()

    async def run(self) -> None:
        """Cancel the batch: until the upstream confirms it, or its refusals count as permanent.

        A creation of unknown outcome is looked up first, because that batch may run and cost money.

        Cancelled: the cancel request may have been sent. Running this again is harmless.
        """
        batch = self._batch
        try:
            if batch.phase is Phase.CREATING and not await batch.look_up():
                batch.phase = Phase.UNCONFIRMED
                batch.emit_cancel_failed("its creation was cut off, so it may still appear")
            if batch.phase is not Phase.RUNNING:
                return
            batch.emit_event(events.BatchCancelRequested)
            is_ours = await self._cancel_until_confirmed()
            if is_ours is None:
                return
        except UpstreamError as error:
            batch.phase = Phase.UNCONFIRMED
            batch.emit_cancel_failed(error.summary)
            return
        batch.phase = Phase.CANCELLED
        if is_ours:
            batch.emit_cancelled()

    async def _cancel_until_confirmed(self) -> bool | None:
        """Return whether our cancellation stopped the batch; False if it had ended before, None if it is wanted again.

        Raises:
            UpstreamError: if the refusals count as permanent.
        """
        assert self._batch.state is not None
        batch_id, delays = self._batch.state.id, back_off()
        while self._is_wanted():
            try:
                await self._api.cancel(self._account, batch_id)
                return True
            except UpstreamError as error:
                refused = error.with_traceback(None)  # it has this frame, which has the error
            # Servers answer 400, 404, 409 and 500 for a batch that has ended, so poll after each failure.
            state = await self._poll(batch_id)
            if state is not None and (state.status == "cancelling" or state.is_terminal):
                return state.status in ("cancelling", "cancelled")
            if not refused.is_retryable and self._patience.runs_out(anyio.current_time()):
                raise _refused_error(state, refused) from refused
            await anyio.sleep(retry_delay(refused, next(delays)))
        return None

    async def _poll(self, batch_id: str) -> BatchState | None:
        """Return the batch's state; None if the poll fails."""
        try:
            return await self._api.retrieve(self._account, batch_id)
        except UpstreamError:
            return None


def _refused_error(state: BatchState | None, refused: UpstreamError) -> UpstreamError:
    status = "cannot be polled" if state is None else f"is {state.status}"
    reason = f"{refused.summary}, and the batch {status}"
    return UpstreamError(reason, summary=reason)
