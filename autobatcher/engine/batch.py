"""One upstream batch inside one task: submit, watch, finish, and a bounded goodbye on the way out."""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Iterator
from typing import Any, Protocol

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint

from .. import events
from ..upstream.batch_api import BatchAPI, wait_of
from ..upstream.batch_state import BatchState
from ..upstream.failures import UncertainCreationError, UpstreamError
from ..upstream.jsonl import InputFile, input_line
from . import outcomes
from .reading import REFUSED_SECONDS, ResultReader
from .request import Request
from .settings import Settings
from .waiting import Resubmit, Waiting

logger: logging.Logger = logging.getLogger("autobatcher")

GOODBYE_SECONDS = 10.0
"""How long cancelling upstream may take while the engine stops: it is one or two quick calls, and whoever closes a
client or stops a process waits for it. A creation on its way is awaited first: see `CREATE_SECONDS`."""

CANCEL_PATIENCE_SECONDS = 3600.0
"""How long an abandoned batch is tried to be cancelled upstream while the engine runs on."""

UNSEEN_SECONDS = 86_400.0
"""How long polls may fail in passing (5xx, no connection) before the batch counts as out of reach."""


class Emit(Protocol):
    """Hands an event of this kind, with the time added, to whoever listens. Never raises."""

    def __call__(self, kind: type[events.BatchEvent], /, **fields: Any) -> None: ...


class Batch:
    """The requests of one window on their way through one upstream batch.

    Args:
        requests: at least one, all of one account and of kinds that may travel together.
        uploads: bounds how many batches upload at once.
        resubmit: see `Waiting`.
    """

    def __init__(
        self,
        requests: list[Request],
        *,
        api: BatchAPI,
        settings: Settings,
        emit: Emit,
        uploads: anyio.CapacityLimiter,
        resubmit: Resubmit,
    ) -> None:
        self.stamp: str = uuid.uuid4().hex
        self.waiting: Waiting = Waiting(dict(zip(_custom_ids(self.stamp), requests, strict=False)), resubmit)
        self._endpoint = requests[0].endpoint
        self._account = requests[0].account
        self._api = api
        self._settings = settings
        self._emit = emit
        self._uploads = uploads
        self._reader = ResultReader(api, self._account, self.waiting)
        self._request_count = 0
        self._models: list[str] = []
        self._input_file_id: str | None = None
        self._state: BatchState | None = None
        self._submitted_at = 0.0
        self._may_exist_unseen = False
        self._has_ended = False
        self._is_closed = False
        self._was_deserted = False

    @property
    def batch_id(self) -> str | None:
        """The upstream's id; None until the batch is created."""
        return None if self._state is None else self._state.id

    @property
    def is_active(self) -> bool:
        """Whether the upstream works on it, as far as we know."""
        return self._state is not None and not self._has_ended

    # ---- the main flow ----

    async def run(self) -> None:
        """Live the batch's whole life. Raises nothing but Cancelled, which means: the engine stops, say goodbye."""
        try:
            await self._submit_and_watch()
            if self._settings.cancel_abandoned_batches:
                with anyio.move_on_after(CANCEL_PATIENCE_SECONDS):
                    await self._cancel_upstream()
        except anyio.get_cancelled_exc_class():
            # Callers that were cancelled together with us get to leave first, so that it does not depend on the order
            # of tasks whether this batch counts as abandoned.
            await cancel_shielded_checkpoint()
            raise
        finally:
            self.close()
            if self._must_not_outlive_us():
                with anyio.move_on_after(GOODBYE_SECONDS, shield=True):
                    await self._cancel_upstream()
            self._tell_if_it_may_still_run()

    async def _submit_and_watch(self) -> None:
        """The life of a batch that is not cut short. What fails in here fails the callers, not the engine."""
        deadline = self._settings.batch_deadline_seconds
        try:
            await self._submit()
            if self._state is not None:
                with anyio.move_on_after(deadline) as scope:
                    await self._watch(self._state)
                if scope.cancelled_caught:
                    self.waiting.fail_all(outcomes.overdue_error_for(deadline), self.batch_id)
        except UpstreamError as error:
            self.waiting.fail_all(outcomes.unreachable_error_for(error), self.batch_id)
        except Exception as error:
            logger.exception("autobatcher: a defect in the engine, batch %s", self.batch_id)
            self.waiting.fail_all(outcomes.defect_error_for(error), self.batch_id)

    async def _submit(self) -> None:
        try:
            async with self._uploads:
                if not self.waiting:
                    return
                self._input_file_id = await self._upload()
            await self._create(self._input_file_id)
        except UpstreamError as error:
            logger.warning("autobatcher: %d requests not submitted: %s", self._request_count, error.summary)
            self._emit(events.BatchSubmissionFailed, **self._request_fields(), error=error.summary)
            self.waiting.fail_all(outcomes.unsubmitted_error_for(error, self.stamp), None)

    async def _upload(self) -> str:
        lines = self.waiting.requests()
        self._request_count = len(self.waiting)
        self._models = sorted({request.model for _, request in lines})

        def encoded() -> Iterator[bytes]:
            return (input_line(custom_id, r.endpoint, r.body) for custom_id, r in lines)

        size = sum(map(len, encoded()))
        name = f"autobatcher-{self.stamp}.jsonl"
        return await self._api.upload(self._account, lambda: InputFile(encoded(), size), name)

    async def _create(self, input_file_id: str) -> None:
        self._may_exist_unseen = True
        try:
            self._state = await self._api.create(
                self._account,
                input_file_id=input_file_id,
                endpoint=self._endpoint,
                completion_window=self._settings.completion_window,
                metadata=self._settings.batch_metadata,
                stamp=self.stamp,
                is_wanted=lambda: bool(self.waiting),
            )
        except UpstreamError as error:
            self._may_exist_unseen = isinstance(error, UncertainCreationError)
            raise
        self._may_exist_unseen = False
        self._submitted_at = anyio.current_time()
        if self._state is not None:
            logger.info("autobatcher: batch %s submitted, %d requests", self._state.id, self._request_count)
            self._emit(events.BatchSubmitted, **self._batch_fields(self._state))

    async def _watch(self, created: BatchState) -> None:
        """Poll until the batch ends, or until it is abandoned; read results as soon as they can be read."""
        interval = wait = self._settings.poll_interval_seconds
        last_seen = anyio.current_time()
        last_told: tuple[object, ...] = ()
        while not await self._is_abandoned_within(wait):
            try:
                state = await self._api.retrieve(self._account, created.id)
            except UpstreamError as error:
                if anyio.current_time() - last_seen > (UNSEEN_SECONDS if error.is_passing else REFUSED_SECONDS):
                    raise
                wait = max(interval, wait_of(error, interval))
                continue
            self._state, last_seen, wait = state, anyio.current_time(), interval
            has_moved = last_told != (state.status, state.counts)
            last_told = (state.status, state.counts)
            if has_moved:
                self._emit(events.BatchProgress, **self._counted_fields(state), status=state.status)
            if state.is_terminal:
                await self._finish(state)
                return
            if has_moved and self._account.provider.partial_output:
                await self._reader.read_new_lines(state)

    async def _is_abandoned_within(self, seconds: float) -> bool:
        """Wait until it is time to poll; True as soon as nobody waits any more and the batch should go, too."""
        if not self._settings.cancel_abandoned_batches:
            await anyio.sleep(seconds)
            return False
        with anyio.move_on_after(seconds):
            await self.waiting.deserted.wait()
        return self.waiting.deserted.is_set()

    async def _finish(self, state: BatchState) -> None:
        """The batch has ended: read both files, settle by custom_id, then settle the rest by status."""
        self._has_ended = True
        logger.info("autobatcher: batch %s %s", state.id, state.status)
        unreadable = await self._reader.read_everything(state)
        if unreadable is not None:
            self.waiting.fail_all(outcomes.unreachable_error_for(unreadable), state.id)
        self.waiting.fail_all(outcomes.ended_error_for(state), state.id)
        if state.status == "completed":
            self._emit(events.BatchCompleted, **self._counted_fields(state))
        else:
            self._emit(events.BatchTerminal, **self._counted_fields(state), status=state.status)

    # ---- leaving ----

    def close(self) -> None:
        """The engine stops: whoever still waits is told so, at once. The first call counts."""
        if not self._is_closed:
            self._is_closed = True
            self._was_deserted = self.waiting.deserted.is_set()
            self.waiting.fail_all(outcomes.closed_error, self.batch_id)

    def _must_not_outlive_us(self) -> bool:
        return (
            self._may_exist_unseen
            or self._settings.cancel_active_batches_on_close
            or (self._was_deserted and self._settings.cancel_abandoned_batches)
        )

    async def _cancel_upstream(self) -> None:
        """Cancel what may still run, trying until the upstream says yes or no, or the caller's time is up.

        A creation of unknown outcome is looked up first: it may run and cost, too.
        """
        try:
            if self._may_exist_unseen and self._input_file_id is not None:
                find = self._api.find
                self._state = await find(self._account, stamp=self.stamp, input_file_id=self._input_file_id)
                self._may_exist_unseen = False
                if self._state is None:
                    self._tell_cancel_failed("its creation was cut off; it may yet appear")
            if self._state is None or self._has_ended:
                return
            self._emit(events.BatchCancelRequested, **self._batch_fields(self._state))
            await self._cancel_patiently(self._state.id)
        except UpstreamError as error:
            self._tell_cancel_failed(error.summary)
        else:
            fields = {"endpoint": self._endpoint, "metadata": dict(self._settings.batch_metadata)}
            self._emit(events.BatchCancelledUpstream, batch_id=self._state.id, **fields)
        self._has_ended, self._may_exist_unseen = True, False

    async def _cancel_patiently(self, batch_id: str) -> None:
        while True:
            try:
                await self._api.cancel(self._account, batch_id)
                return
            except UpstreamError as error:
                refused = None if error.is_passing else error
            if refused is not None:
                await self._check_that_it_goes(batch_id, refused)
                return
            await anyio.sleep(self._settings.poll_interval_seconds)

    async def _check_that_it_goes(self, batch_id: str, refused: UpstreamError) -> None:
        """Our cancellation was refused: fine if an earlier one, whose answer we did not hear, was taken."""
        state = await self._api.retrieve(self._account, batch_id)
        if state.status not in ("cancelling", "cancelled"):
            reason = f"{refused.summary}, and the batch is {state.status}"
            raise UpstreamError(reason, summary=reason) from refused

    def _tell_if_it_may_still_run(self) -> None:
        """Somebody wanted it gone, and the time for that ran out."""
        if self._must_not_outlive_us() and (self._may_exist_unseen or self.is_active):
            self._tell_cancel_failed("no answer in time")

    def _tell_cancel_failed(self, reason: str) -> None:
        batch_id = self.batch_id or f"unknown (its metadata has {self.stamp})"
        logger.warning("autobatcher: batch %s may still run: %s", batch_id, reason)
        fields = {"endpoint": self._endpoint, "metadata": dict(self._settings.batch_metadata)}
        self._emit(events.BatchCancelFailed, batch_id=batch_id, error=reason, **fields)

    # ---- the fields of events ----

    def _request_fields(self) -> dict[str, Any]:
        return {
            "endpoint": self._endpoint,
            "request_count": self._request_count,
            "models": self._models,
            "completion_window": self._settings.completion_window,
            "metadata": dict(self._settings.batch_metadata),
        }

    def _batch_fields(self, state: BatchState) -> dict[str, Any]:
        return {
            **self._request_fields(),
            "batch_id": state.id,
            "input_file_id": self._input_file_id,
            "output_file_id": state.output_file_id,
            "error_file_id": state.error_file_id,
        }

    def _counted_fields(self, state: BatchState) -> dict[str, Any]:
        return {
            **self._batch_fields(state),
            "counts": state.counts or events.RequestCounts(),
            "elapsed_seconds": round(anyio.current_time() - self._submitted_at, 3),
        }


def _custom_ids(stamp: str) -> Iterator[str]:
    """custom_ids that no other batch of anyone has: at most 64 characters of [0-9a-z-], as every provider takes."""
    return (f"{stamp}-{number}" for number in itertools.count())
