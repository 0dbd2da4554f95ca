"""One upstream batch inside one task: submit, watch, read, settle, and a bounded goodbye on the way out.

Every request of the batch gets exactly one outcome: whoever settles it takes it out of `_waiting`, and `run` empties
`_waiting` on every way out.
"""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Iterator
from typing import Any, Protocol

import anyio

from .. import events
from ..upstream.batch_api import BatchAPI
from ..upstream.batch_state import BatchState
from ..upstream.failures import UncertainCreationError, UpstreamError
from ..upstream.jsonl import InputFile, input_line, parse_output_line
from . import outcomes
from .request import ErrorFor, Request
from .settings import Settings

logger: logging.Logger = logging.getLogger("autobatcher")

GOODBYE_SECONDS = 10.0
"""How long leaving may take: cancelling one batch upstream is one or two quick calls, and whoever closes a client or
stops a process waits for it."""

LASTING_REFUSALS = 5
"""Polls in a row that must be refused (401, 403, 404, ...) before the batch counts as out of reach: a batch is not
visible everywhere at once, and keys get rotated."""

READ_ATTEMPTS = 6
"""Tries to read one result file. Right after the end of a batch a file may still be missing; with the delays below
this is patience for about a minute."""

FIRST_READ_DELAY_SECONDS = 2.0


class Emit(Protocol):
    """Hands an event of this kind, with the time added, to whoever listens. Never raises."""

    def __call__(self, kind: type[events.BatchEvent], /, **fields: Any) -> None: ...


class Batch:
    """The requests of one window on their way through one upstream batch.

    Args:
        requests: at least one, all of one account and of kinds that may travel together.
        uploads: bounds how many batches upload at once.
    """

    def __init__(
        self,
        requests: list[Request],
        *,
        api: BatchAPI,
        settings: Settings,
        emit: Emit,
        uploads: anyio.CapacityLimiter,
    ) -> None:
        self.stamp: str = uuid.uuid4().hex
        self.endpoint: str = requests[0].endpoint
        self._account = requests[0].account
        self._api = api
        self._settings = settings
        self._emit = emit
        self._uploads = uploads
        self._waiting = dict(zip(_custom_ids(self.stamp), requests, strict=False))
        self._everyone_left = anyio.Event()
        self._is_closed = False
        self._was_deserted = False
        self._request_count = 0
        self._models: list[str] = []
        self._input_file_id: str | None = None
        self._state: BatchState | None = None
        self._may_exist_unseen = False
        self._has_ended = False
        self._submitted_at = 0.0
        self._lines_read: dict[str, int] = {}
        for custom_id, request in self._waiting.items():
            request.custom_id = custom_id
            request.place = self

    @property
    def batch_id(self) -> str | None:
        """The upstream's id; None until the batch is created."""
        return None if self._state is None else self._state.id

    @property
    def is_active(self) -> bool:
        """Whether the upstream works on it, as far as we know."""
        return self._state is not None and not self._has_ended

    @property
    def waiting_count(self) -> int:
        """How many callers wait for a line of it."""
        return len(self._waiting)

    # ---- the main flow ----

    async def run(self) -> None:
        """Live the batch's whole life. Raises nothing but Cancelled, which means: the engine stops, say goodbye."""
        must_cancel = self._settings.cancel_active_batches_on_close
        try:
            await self._submit_and_watch()
            # Out here with an active batch: nobody waits for it any more, or it is out of our reach.
            must_cancel = self._settings.cancel_abandoned_batches
        finally:
            self.close()
            if must_cancel or (self._was_deserted and self._settings.cancel_abandoned_batches):
                with anyio.move_on_after(GOODBYE_SECONDS, shield=True):
                    await self._cancel_upstream()

    async def _submit_and_watch(self) -> None:
        """The life of a batch that is not cut short. What fails in here fails the callers, not the engine."""
        deadline = self._settings.batch_deadline_seconds
        try:
            await self._submit()
            if self._state is not None:
                with anyio.move_on_after(deadline) as scope:
                    await self._watch()
                if scope.cancelled_caught:
                    self._fail_waiting(outcomes.overdue_error_for(deadline))
        except UpstreamError as error:
            self._fail_waiting(outcomes.unreachable_error_for(error))
        except Exception as error:
            logger.exception("autobatcher: a defect in the engine ended batch %s", self.batch_id)
            self._fail_waiting(outcomes.defect_error_for(error))

    async def _submit(self) -> None:
        try:
            async with self._uploads:
                if not self._waiting:
                    return
                self._input_file_id = await self._upload()
            if self._waiting:
                await self._create(self._input_file_id)
        except UpstreamError as error:
            self._emit(events.BatchSubmissionFailed, **self._request_fields(), error=str(error))
            self._fail_waiting(outcomes.unsubmitted_error_for(error))

    async def _upload(self) -> str:
        lines = dict(self._waiting)
        self._request_count = len(lines)
        self._models = sorted({request.model for request in lines.values()})

        def encoded() -> Iterator[bytes]:
            return (input_line(custom_id, r.endpoint, r.body) for custom_id, r in lines.items())

        size = sum(map(len, encoded()))
        name = f"autobatcher-{self.stamp}.jsonl"
        return await self._api.upload(self._account, lambda: InputFile(encoded(), size), name)

    async def _create(self, input_file_id: str) -> None:
        self._may_exist_unseen = True
        try:
            self._state = await self._api.create(
                self._account,
                input_file_id=input_file_id,
                endpoint=self.endpoint,
                completion_window=self._settings.completion_window,
                metadata=self._settings.batch_metadata,
                stamp=self.stamp,
            )
        except UpstreamError as error:
            self._may_exist_unseen = isinstance(error, UncertainCreationError)
            raise
        self._may_exist_unseen = False
        self._submitted_at = anyio.current_time()
        self._emit(events.BatchSubmitted, **self._batch_fields(self._state))

    async def _watch(self) -> None:
        """Poll until the batch ends, or until nobody waits for it; read results as soon as they can be read."""
        last: BatchState | None = None
        while not await self._is_deserted_within(self._settings.poll_interval_seconds):
            state = self._state = await self._poll()
            has_moved = last is None or (state.status, state.counts) != (last.status, last.counts)
            last = state
            if has_moved:
                self._emit(events.BatchProgress, **self._counted_fields(state), status=state.status)
            if state.is_terminal:
                await self._finish(state)
                return
            if has_moved and self._account.provider.partial_output:
                await self._read_new_lines(state)

    async def _is_deserted_within(self, seconds: float) -> bool:
        """Wait until it is time to poll; True as soon as every caller is gone and the batch should go, too."""
        if not self._settings.cancel_abandoned_batches:
            await anyio.sleep(seconds)
            return False
        with anyio.move_on_after(seconds):
            await self._everyone_left.wait()
        return self._everyone_left.is_set()

    async def _poll(self) -> BatchState:
        """What the upstream says now. A poll that fails is not news; one that is refused again and again is."""
        assert self._state is not None
        refusals = 0
        while True:
            try:
                return await self._api.retrieve(self._account, self._state.id)
            except UpstreamError as error:
                refusals = 0 if error.is_passing else refusals + 1
                if refusals >= LASTING_REFUSALS:
                    raise
            if await self._is_deserted_within(self._settings.poll_interval_seconds):
                return self._state

    async def _finish(self, state: BatchState) -> None:
        """The batch has ended: read both files, settle by custom_id, then settle the rest by status."""
        self._has_ended = True
        unreadable = await self._read_everything(state)
        if unreadable is not None:
            self._fail_waiting(outcomes.unreachable_error_for(unreadable))
        self._fail_waiting(outcomes.ended_error_for(state))
        if state.status == "completed":
            self._emit(events.BatchCompleted, **self._counted_fields(state))
        else:
            self._emit(events.BatchTerminal, **self._counted_fields(state), status=state.status)

    # ---- reading ----

    async def _read_new_lines(self, state: BatchState) -> None:
        """Read on where the last reading stopped. What cannot be read now is read at the end."""
        for file_id in (state.output_file_id, state.error_file_id):
            if file_id is not None and self._waiting:
                try:
                    await self._read(file_id, self._lines_read.get(file_id, 0))
                except UpstreamError as error:
                    logger.info("autobatcher: batch %s: no partial output now: %s", state.id, error)

    async def _read_everything(self, state: BatchState) -> UpstreamError | None:
        """Read both files to their end; the error if one cannot be read while somebody may wait for it.

        First from where partial reading stopped, then, while somebody still waits, from the beginning: where lines
        are ordered by a clock, a late one may stand before those that were read already.
        """
        failure = None
        for file_id in (state.output_file_id, state.error_file_id):
            if file_id is not None:
                for skip in dict.fromkeys((self._lines_read.get(file_id, 0), 0)):
                    if self._waiting:
                        failure = await self._read_patiently(file_id, skip) or failure
        return failure

    async def _read_patiently(self, file_id: str, skip: int) -> UpstreamError | None:
        delay = FIRST_READ_DELAY_SECONDS
        for tries_left in reversed(range(READ_ATTEMPTS)):
            try:
                await self._read(file_id, skip)
            except UpstreamError as error:
                may_come = error.is_passing or error.status_code == 404
                if tries_left == 0 or not may_come:
                    return error
            else:
                return None
            await anyio.sleep(delay)
            delay *= 2
        raise AssertionError("unreachable: the last try returns")

    async def _read(self, file_id: str, skip: int) -> None:
        read_lines = self._api.read_lines
        self._lines_read[file_id] = await read_lines(self._account, file_id, self._take_line, skip=skip)

    def _take_line(self, line: bytes) -> None:
        """Hand one line to the caller it belongs to. Unknown, repeated and unreadable lines belong to nobody."""
        result = parse_output_line(line)
        request = None if result is None else self._waiting.pop(result.custom_id, None)
        if result is not None and request is not None:
            assert self._state is not None
            request.settle(outcomes.line_outcome(result, self._state.id))

    # ---- leaving ----

    def withdraw(self, request: Request) -> None:
        """A caller is gone; when all are, the batch is abandoned."""
        del self._waiting[request.custom_id]
        if not self._waiting:
            self._everyone_left.set()

    def close(self) -> None:
        """The engine stops: whoever still waits is told so, at once. The first call counts."""
        if not self._is_closed:
            self._is_closed = True
            self._was_deserted = not self._waiting
            self._fail_waiting(outcomes.closed_error)

    def _fail_waiting(self, error_for: ErrorFor) -> None:
        while self._waiting:
            _, request = self._waiting.popitem()
            request.settle(error_for(request, self.batch_id))

    async def _cancel_upstream(self) -> None:
        """Cancel what may still run. A creation of unknown outcome is looked up first: it may run and cost, too."""
        try:
            if self._may_exist_unseen and self._input_file_id is not None:
                self._state = await self._api.find(self._account, stamp=self.stamp, input_file_id=self._input_file_id)
            if self._state is None or self._has_ended:
                return
            self._emit(events.BatchCancelRequested, **self._batch_fields(self._state))
            await self._api.cancel(self._account, self._state.id)
        except UpstreamError as error:
            batch_id = self.batch_id or f"unknown, {self.stamp}"
            self._emit(events.BatchCancelFailed, batch_id=batch_id, endpoint=self.endpoint, error=str(error))
        else:
            self._has_ended = True
            self._emit(events.BatchCancelledUpstream, batch_id=self._state.id, endpoint=self.endpoint)

    # ---- the fields of events ----

    def _request_fields(self) -> dict[str, Any]:
        return {
            "endpoint": self.endpoint,
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
