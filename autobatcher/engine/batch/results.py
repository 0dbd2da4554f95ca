"""Reads a batch's results: while it runs, where the provider allows it, and completely at the end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

from ...turns import in_turns
from ...upstream.account import Account
from ...upstream.batch_api import BatchAPI
from ...upstream.batch_state import BatchState
from ...upstream.failures import UpstreamError
from ...upstream.jsonl import MAX_CUSTOM_ID_BYTES, Overlong
from ...upstream.large_line import LARGE_BYTES, LARGE_ODD_BYTES, parse_large_line
from ...upstream.output_line import (
    MAX_RAW_BYTES,
    OutputLine,
    custom_id_in,
    overlong_line,
    parse_output_line,
    parse_plain_block,
    parse_plain_line,
)
from ...upstream.patience import ReadPatience
from ..answer_room import AnswerRoom
from .agreement import lacks_results
from .pending import PendingRequests

logger: logging.Logger = logging.getLogger("autobatcher")

FIRST_DELAY_SECONDS = 2.0
MAX_DELAY_SECONDS = 60.0

UNFINISHED = frozenset({"batch_expired", "batch_cancelled"})
"""Error codes of lines that were not executed when their batch ended."""

MAX_RESULTS = 1_000_000
"""More lines than any batch of ours has. A file may have any number of lines that look like them."""


class ResultReader:
    """Reads output and error files, and delivers each line to the request that waits for it.

    Args:
        pending: reading stops once it wants no more lines.
        drain: awaited after each chunk, for back-pressure.
        room: of a line that is longer than its `most_bytes` only the beginning is read; its caller gets an error.
        prefix: what the custom_ids of the batch begin with.

    Attributes:
        unreadable: the beginnings of lines that no parser can read, by the custom_id that stands in them; only those
            that requests wait for.
    """

    def __init__(
        self,
        api: BatchAPI,
        account: Account,
        pending: PendingRequests,
        drain: Callable[[], Awaitable[None]] | None,
        room: AnswerRoom,
        *,
        prefix: str = "",
    ) -> None:
        self._api = api
        self._account = account
        self._pending = pending
        self._drain = drain
        self._room = room
        self._prefix = prefix
        self._lines_read: dict[str, int] = {}
        self._results: set[str] = set()  # custom_ids
        self._unfinished: set[str] = set()
        self._has_odd_lines = False
        self.unreadable: dict[str, bytes] = {}

    @property
    def results_read(self) -> int:
        """How many different results were read so far."""
        return len(self._results)

    @property
    def unfinished_read(self) -> int:
        """How many of them only say that the batch ended before."""
        return len(self._unfinished)

    async def read_new_lines(self, state: BatchState) -> None:
        """Read from where the last call stopped. Lines that cannot be read now are read at the end; so are those that
        only say that the batch ends without them, since it depends on its end what becomes of them."""
        for file_id in _file_ids(state):
            if self._pending.wants_lines:
                try:
                    await self._read(state.id, file_id, self._lines_read.get(file_id, 0), takes_unfinished=False)
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
                    failure = error.with_traceback(None)  # it has this frame, which has the error
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

    def has_read_all(self, state: BatchState) -> bool:
        """Whether the batch's counts name no more results than were read."""
        return state.counts is not None and not lacks_results(state, self.results_read, self.unfinished_read)

    async def read_for_prices(self, state: BatchState) -> bool:
        """Read both files once, whoever waits; return whether all results were read."""
        for file_id in _file_ids(state):
            try:
                await self._read(state.id, file_id, 0)
            except UpstreamError as error:
                logger.info("autobatcher: batch %s: its price is not known: %s", state.id, error.summary)
                return False
        return not self._has_odd_lines and not lacks_results(state, self.results_read, self.unfinished_read)

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

    async def _read(self, batch_id: str, file_id: str, skip: int, *, takes_unfinished: bool = True) -> None:
        def take_block(block: bytes) -> int | None:
            results = parse_plain_block(block)
            for result in results or ():
                self._note(result)
                self._pending.deliver(result, batch_id)
            return None if results is None else len(results)

        async def take(line: bytes | Overlong) -> None:
            result = await self._parsed(line)
            if result is not None:
                self._note(result)
                if takes_unfinished or result.error_code not in UNFINISHED:
                    self._pending.deliver(result, batch_id)
            elif isinstance(line, bytes):
                self._has_odd_lines = True
                self._keep_unreadable(line)

        self._lines_read[file_id] = await self._api.read_lines(
            self._account,
            file_id,
            take_block,
            take,
            skip=skip,
            max_line_bytes=self._room.most_bytes,
            large=self._room.turn(self._account),
            drain=self._drain,
        )

    async def _parsed(self, line: bytes | Overlong) -> OutputLine | None:
        """Parse a line without holding the event loop, however large or odd it is."""
        if isinstance(line, Overlong):
            return overlong_line(line.beginning, self._room.most_bytes)
        if len(line) <= LARGE_ODD_BYTES:
            return parse_output_line(line)
        if len(line) <= LARGE_BYTES and (result := parse_plain_line(line)) is not None:
            return result
        return await in_turns(parse_large_line(line))

    def _keep_unreadable(self, line: bytes) -> None:
        custom_id = custom_id_in(line)
        if custom_id is not None and custom_id in self._pending:
            self.unreadable[custom_id] = line[:MAX_RAW_BYTES]

    def _note(self, line: OutputLine) -> None:
        """Count a result. A line of somebody else's accounts for none of ours."""
        is_ours = line.custom_id.startswith(self._prefix) and len(line.custom_id) <= MAX_CUSTOM_ID_BYTES
        if is_ours and len(self._results) < MAX_RESULTS:
            self._results.add(line.custom_id)
            (self._unfinished.add if line.error_code in UNFINISHED else self._unfinished.discard)(line.custom_id)


def _file_ids(state: BatchState) -> tuple[str, ...]:
    return tuple(file_id for file_id in (state.output_file_id, state.error_file_id) if file_id is not None)
