"""Reads a batch's results: while it runs, where the provider allows it, and completely at the end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

from ...upstream.account import Account
from ...upstream.batch_api import BatchAPI
from ...upstream.batch_state import BatchState
from ...upstream.failures import UpstreamError
from ...upstream.output_line import custom_id_in, parse_output_line
from ...upstream.patience import ReadPatience
from .pending import PendingRequests

logger: logging.Logger = logging.getLogger("autobatcher")

FIRST_DELAY_SECONDS = 2.0
MAX_DELAY_SECONDS = 60.0


class ResultReader:
    """Reads output and error files, and delivers each line to the request that waits for it.

    Args:
        pending: reading stops once it wants no more lines.
        drain: awaited after each chunk, for back-pressure.
        prefix: what the custom_ids of the batch begin with.

    Attributes:
        unreadable: lines that no parser can read, by the custom_id that stands in them.
    """

    def __init__(
        self,
        api: BatchAPI,
        account: Account,
        pending: PendingRequests,
        drain: Callable[[], Awaitable[None]] | None,
        *,
        prefix: str = "",
    ) -> None:
        self._api = api
        self._account = account
        self._pending = pending
        self._drain = drain
        self._prefix = prefix
        self._lines_read: dict[str, int] = {}
        self._results: set[str] = set()  # custom_ids
        self.unreadable: dict[str, bytes] = {}

    @property
    def results_read(self) -> int:
        """How many different results were read so far."""
        return len(self._results)

    async def read_new_lines(self, state: BatchState) -> None:
        """Read from where the last call stopped. Lines that cannot be read now are read at the end."""
        for file_id in _file_ids(state):
            if self._pending.wants_lines:
                try:
                    await self._read(state.id, file_id, self._lines_read.get(file_id, 0))
                except UpstreamError as error:
                    logger.info("autobatcher: batch %s: no partial output now: %s", state.id, error.summary)

    async def read_once(self, state: BatchState) -> UpstreamError | None:
        """Read both files from the start, without retries. Return the error if lines are still wanted and one file
        could not be read."""
        failure = None
        for file_id in _file_ids(state):
            if self._pending.wants_lines:
                try:
                    await self._read(state.id, file_id, 0)
                except UpstreamError as error:
                    failure = error
        return failure if self._pending.wants_lines else None

    async def read_everything(self, state: BatchState) -> UpstreamError | None:
        """Read both files to the end, with `ReadPatience`. Return the error if lines are still wanted and one file
        could not be read.

        Reading starts where partial reading stopped. If lines are still wanted then, it starts again from the
        beginning: where lines are ordered by time, a late line may precede lines that were already read.
        """
        failure = None
        for file_id in _file_ids(state):
            last_stop = self._lines_read.get(file_id, 0)
            for skip in (last_stop, 0) if last_stop else (0,):
                if self._pending.wants_lines:
                    failure = await self._read_with_retries(state.id, file_id, skip) or failure
        return failure if self._pending.wants_lines else None

    async def _read_with_retries(self, batch_id: str, file_id: str, skip: int) -> UpstreamError | None:
        delay, patience = FIRST_DELAY_SECONDS, ReadPatience()
        while self._pending.wants_lines:
            try:
                await self._read(batch_id, file_id, skip)
            except UpstreamError as error:
                if patience.runs_out(error, anyio.current_time()):
                    return error
                wait = max(delay, error.retry_after or 0.0)
            else:
                return None
            await anyio.sleep(min(wait, MAX_DELAY_SECONDS))
            delay *= 2
        return None

    async def _read(self, batch_id: str, file_id: str, skip: int) -> None:
        def take(line: bytes) -> None:
            result = parse_output_line(line)
            if result is not None:
                if result.custom_id.startswith(self._prefix):  # a line of somebody else's accounts for none of ours
                    self._results.add(result.custom_id)
                self._pending.deliver(result, batch_id)
            elif (custom_id := custom_id_in(line)) is not None:
                self.unreadable[custom_id] = line

        self._lines_read[file_id] = await self._api.read_lines(
            self._account, file_id, take, skip=skip, drain=self._drain
        )


def _file_ids(state: BatchState) -> tuple[str, ...]:
    return tuple(file_id for file_id in (state.output_file_id, state.error_file_id) if file_id is not None)
