"""The upstream side of one batch: its input file and batch object, from upload to removal, and its events."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio

from ... import events
from ...upstream.account import Account
from ...upstream.back_off import retry_delay
from ...upstream.batch_api import BatchAPI
from ...upstream.batch_state import BatchState
from ...upstream.failures import UncertainCreationError, UpstreamError
from ...upstream.jsonl import InputFile, InputLines
from ...upstream.lookup import Lookup
from ...upstream.patience import ReadPatience
from ..emitter import Emit
from ..journal import BatchRecord
from ..lanes.durations import Durations
from ..lanes.kinds import BatchKind
from ..lanes.work import Work
from ..request import Request
from ..settings import Settings
from ..units import format_requests
from .phase import MAY_RUN, Phase

logger: logging.Logger = logging.getLogger("autobatcher")


CHECKED_BYTES_PER_SECOND = 1_000_000.0
"""How fast a slow server checks an input file before it answers the upload."""


class UpstreamBatch:
    """One upload, one creation, and what follows.

    Args:
        idempotency_key: identifies the batch upstream, and is part of the file's name.
        completion_window: None for that of the settings.

    Attributes:
        phase: how far the batch is.
        state: the last known state; None before the creation.
        first_state: the state at the first poll.
    """

    def __init__(
        self,
        account: Account,
        endpoint: str,
        idempotency_key: str,
        *,
        api: BatchAPI,
        settings: Settings,
        emit: Emit,
        completion_window: str | None = None,
    ) -> None:
        self.idempotency_key: str = idempotency_key
        self.phase: Phase = Phase.QUEUED
        self.state: BatchState | None = None
        self.first_state: BatchState | None = None
        self._account = account
        self._endpoint = endpoint
        self._api = api
        self._settings = settings
        self._completion_window = completion_window or settings.completion_window
        self._emit = emit
        self._file_name = f"autobatcher-{idempotency_key}.jsonl"
        self._file_id: str | None = None
        self._may_have_orphans = False  # uploaded files whose ids were lost with the response
        self._request_count = 0
        self._models: list[str] = []
        self._submitted_at = 0.0

    @property
    def batch_id(self) -> str | None:
        """The upstream's id; None until the batch is created."""
        return None if self.state is None else self.state.id

    @property
    def is_active(self) -> bool:
        """Whether the upstream works on the batch, as far as we know."""
        return self.phase is Phase.RUNNING

    def remaining_seconds(self, durations: Durations) -> float:
        """Within how many more seconds half of such batches are done, of those that run for as long."""
        return durations.remaining_quantile(self.kind, self.age_seconds, 0.5)

    @property
    def kind(self) -> BatchKind:
        """Which batches take about as long."""
        model, lines = self._models[0] if self._models else "", max(1, self._request_count)
        work = Work(profile=self._account.provider, endpoint=self._endpoint, model=model, lines=lines)
        return work.batch_kind(self._completion_window)

    @property
    def age_seconds(self) -> float:
        """How long ago the batch was created, also by an earlier process."""
        return anyio.current_time() - self._submitted_at

    @property
    def file_id(self) -> str | None:
        """The input file's id; None before the upload."""
        return self._file_id

    @property
    def may_have_files(self) -> bool:
        """Whether input files of this batch may be upstream."""
        return self._file_id is not None or self._may_have_orphans

    def adopt(self, state: BatchState) -> None:
        """Use this batch of the upstream as ours."""
        self.state, self.phase = state, Phase.RUNNING

    def observe(self, state: BatchState) -> None:
        """Record the state that a poll returned."""
        if self.phase is Phase.READING and not state.is_terminal:
            return  # a stale replica: what has ended does not run again
        self.state = state
        self.first_state = self.first_state or state
        if state.is_terminal and self.phase is Phase.RUNNING:
            logger.info("autobatcher: batch %s %s", state.id, state.status)
            self.phase = Phase.READING

    # ---- upload and creation ----

    async def upload(
        self, lines: list[tuple[str, Request]], turn: AbstractAsyncContextManager[None], is_wanted: Callable[[], bool]
    ) -> bool:
        """Upload the input file; False if it is not wanted any more.

        Args:
            lines: custom_ids and requests.
            turn: held during each try, not between tries.
            is_wanted: asked before each try.

        Raises:
            UpstreamError: if the upload fails permanently.

        Cancelled: the file may exist; `clean_up` finds it.
        """
        self._request_count = len(lines)
        self._models = sorted({request.model for _, request in lines})

        content = InputLines(lines, self._account.provider.line_url)
        tries: list[InputFile] = []

        def input_file() -> InputFile:
            tries.append(InputFile(content))
            return tries[-1]

        expires = self._settings.file_expiry_seconds
        self._may_have_orphans = True
        self.phase = Phase.UPLOADING
        try:
            self._file_id = await self._api.upload(
                self._account,
                input_file,
                self._file_name,
                expires_seconds=expires,
                silence_seconds=self._settings.upload_timeout_seconds + content.size / CHECKED_BYTES_PER_SECOND,
                turn=turn,
                is_wanted=is_wanted,
            )
            self._may_have_orphans = _sent(tries) > (self._file_id is not None)
        except UpstreamError as error:
            was_refused = error.status_code is not None and not error.is_ambiguous
            self._may_have_orphans = _sent(tries) > was_refused
            raise
        return self._file_id is not None

    async def create(
        self,
        is_wanted: Callable[[], bool],
        before_attempt: Callable[[str], Awaitable[None]],
        on_may_exist: Callable[[bool], None],
    ) -> bool:
        """Create the batch, at most once; False if it is not wanted any more.

        Args:
            is_wanted: asked before each try.
            before_attempt: awaited before each try, with the input file's id.
            on_may_exist: called whenever it changes whether the batch may exist.

        Raises:
            UpstreamError: if the creation fails permanently, and whatever `before_attempt` raises.

        Cancelled: see `BatchAPI.create`.
        """
        file_id = self._file_id
        assert file_id is not None

        def set_may_exist(may_exist: bool) -> None:
            self.phase = Phase.CREATING if may_exist else Phase.UPLOADING
            self._submitted_at = anyio.current_time()
            on_may_exist(may_exist)

        try:
            created = await self._api.create(
                self._account,
                input_file_id=file_id,
                endpoint=self._account.provider.line_url(self._endpoint),
                completion_window=self._completion_window,
                metadata=self._settings.batch_metadata,
                idempotency_key=self.idempotency_key,
                is_wanted=is_wanted,
                before_attempt=lambda: before_attempt(file_id),
                on_may_exist=set_may_exist,
            )
        except UpstreamError as error:
            set_may_exist(isinstance(error, UncertainCreationError))
            raise
        if created is None:
            return False
        self.adopt(created)
        self.emit_begin(events.BatchSubmitted)
        return True

    def resume(self, record: BatchRecord, age_seconds: float) -> None:
        """Take up the batch of a journal record. `phase` then says whether it exists, may exist, or never existed.

        Args:
            age_seconds: the time since that record last changed.
        """
        self._request_count, self._models, self._file_id = record.request_count, record.models, record.file_id
        self._submitted_at = anyio.current_time() - max(0.0, age_seconds + record.changed_at - record.created_at)
        self._may_have_orphans = True  # the journal does not record the tries of an upload
        self.phase = Phase.UPLOADING if record.stage == "intended" else Phase.CREATING
        if record.batch_id is not None:
            self.adopt(BatchState(id=record.batch_id, status=record.status or "unknown", input_file_id=record.file_id))

    async def look_up(self) -> bool:
        """Look up a batch whose creation had an unknown outcome; return whether the upstream has it.

        Raises:
            UpstreamError: if the lookup fails permanently.
        """
        age = anyio.current_time() - self._submitted_at if self._submitted_at else 0.0
        patience, lookup = ReadPatience(), Lookup(self.idempotency_key, self._file_id or "", age)
        while True:
            try:
                found = await self._api.look_up(self._account, lookup)
                break
            except UpstreamError as error:
                if patience.runs_out(error, anyio.current_time()):
                    raise
                await anyio.sleep(retry_delay(error, self._settings.poll_interval_seconds))
        if found is not None:
            self.adopt(found)
        return found is not None

    # ---- removal ----

    async def clean_up(self) -> None:
        """Delete input files that no batch needs any more. Files that cannot be deleted expire."""
        if not self._settings.delete_input_files or self.phase in MAY_RUN or self.phase is Phase.UNCONFIRMED:
            return
        if self.state is not None and not self._account.provider.batches_outlive_files:
            return
        try:
            if self._file_id is not None:
                await self._api.delete_file(self._account, self._file_id)
                self._file_id = None
            if self._may_have_orphans:
                await self._api.delete_files_named(self._account, self._file_name)
                self._may_have_orphans = False
        except UpstreamError as error:
            logger.info("autobatcher: an input file of batch %s was not deleted: %s", self.batch_id, error.summary)

    # ---- events ----

    def emit_event(self, kind: type[events.BatchEvent], **fields: Any) -> None:
        """Emit an event about the batch in its current state."""
        self._emit(kind, **self._batch_fields(), **fields)

    def emit_with_counts(self, kind: type[events.BatchEvent], **fields: Any) -> None:
        """Emit an event that includes the counts and the elapsed time."""
        counts = (self.state and self.state.counts) or events.RequestCounts()
        elapsed = round(self.age_seconds, 3)
        self.emit_event(kind, counts=counts, elapsed_seconds=elapsed, **fields)

    def emit_begin(self, kind: type[events.BatchSubmitted | events.BatchResumed]) -> None:
        """The upstream has the batch."""
        logger.info("autobatcher: batch %s: %s, %s", self.batch_id, kind.__name__, format_requests(self._request_count))
        self.emit_event(kind)

    def emit_end(self) -> None:
        """The batch has ended, or its last line was answered."""
        assert self.state is not None
        if self.state.is_terminal and self.state.status != "completed":
            self.emit_with_counts(events.BatchTerminal, status=self.state.status)
        else:
            self.emit_with_counts(events.BatchCompleted)

    def emit_submission_failed(self, reason: str) -> None:
        """The batch could not be submitted."""
        logger.warning("autobatcher: %s not submitted: %s", format_requests(self._request_count), reason)
        self._emit(events.BatchSubmissionFailed, **self._request_fields(), error=reason)

    def emit_resubmitted(self, request_count: int, reason: str) -> None:
        """Requests of this batch go into another one."""
        logger.info(
            "autobatcher: %s of batch %s went into another: %s", format_requests(request_count), self.batch_id, reason
        )
        fields = {**self._request_fields(), "request_count": request_count, "batch_id": self.batch_id}
        self._emit(events.RequestsResubmitted, **fields, reason=reason)

    def emit_cancelled(self) -> None:
        """The upstream accepted our cancellation."""
        assert self.state is not None
        fields = {"endpoint": self._endpoint, "metadata": dict(self._settings.batch_metadata)}
        self._emit(events.BatchCancelledUpstream, batch_id=self.state.id, **fields)

    def emit_cancel_failed(self, reason: str) -> None:
        """The batch could not be cancelled, and may keep running."""
        batch_id = self.batch_id or f"unknown (its metadata has {self.idempotency_key})"
        logger.warning("autobatcher: batch %s may still run: %s", batch_id, reason)
        fields = {"endpoint": self._endpoint, "metadata": dict(self._settings.batch_metadata)}
        self._emit(events.BatchCancelFailed, batch_id=batch_id, error=reason, **fields)

    def _request_fields(self) -> dict[str, Any]:
        return {
            "endpoint": self._endpoint,
            "request_count": self._request_count,
            "models": self._models,
            "completion_window": self._completion_window,
            "metadata": dict(self._settings.batch_metadata),
        }

    def _batch_fields(self) -> dict[str, Any]:
        assert self.state is not None
        return {
            **self._request_fields(),
            "batch_id": self.state.id,
            "input_file_id": self._file_id or self.state.input_file_id,
            "output_file_id": self.state.output_file_id,
            "error_file_id": self.state.error_file_id,
        }


def _sent(tries: list[InputFile]) -> int:
    """How many uploads may have arrived."""
    return sum(each.was_read for each in tries)
