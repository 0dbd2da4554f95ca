"""Ask the lines of an input and write the lines of the output. On asyncio and trio."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import anyio
from anyio import to_thread

from .. import BatchOpenAI
from ..client.calls_under_way import CallUnderWay
from ..client.mapping import deliveries_of, read_ahead
from ..engine.request import Answer
from ..errors import (
    BatchError,
    BatchSubmissionError,
    BatchUnreachableError,
    BudgetExceededError,
    ClientClosedError,
    EngineError,
    JournalError,
    UnbatchableRequestError,
)
from ..files.input_file import InputFile
from ..files.input_lines import BadLine, InputLine
from ..files.known_ids import KnownIds
from ..files.output_file import OutputFile
from ..files.output_lines import answer_line, failure_line
from ..money.receipt_text import dollars
from ..progress import Progress

AT_ONCE = 500
"""Answers to write in one block."""

SYNC_SECONDS, SYNC_CALLS, SYNC_BYTES = 1.0, 5_000, 16_000_000
"""When what was written is made to survive a power failure. After that the journal may forget it."""

ABOUT_THE_ACCOUNT = frozenset({None, 401, 402, 403, 429})
"""Statuses of a refused batch that every other batch will meet, too. None: the upstream cannot be reached."""

MOST_REFUSED = 1000
"""After so many lines in a row that a cap had no room for, no other one is tried. Short ones might have fitted."""


@dataclass
class Counts:
    """What became of the lines.

    Attributes:
        lines: how many lines the input has, bad ones included.
        earlier: those that an earlier run had written.
        earlier_failed: the failures among them.
        bad: lines that are no calls.
        bad_numbers: of the first of them.
        unsent: calls without an outcome: a later run asks them again, or finds their answers.
        why_unsent: reasons, by what they are about.
    """

    lines: int = 0
    earlier: int = 0
    earlier_failed: int = 0
    answered: int = 0
    failed: int = 0
    bad: int = 0
    bad_numbers: list[int] = field(default_factory=list)
    unsent: int = 0
    why_unsent: dict[str, str] = field(default_factory=dict)


class BatchRun:
    """One run, from reading OUT to the last line in it.

    Args:
        client: open, with its journal. What OUT lacks is asked of it.
        output, errors: where answers and failures go; they may be the same file.
        sync_seconds: after how long what was written is made to survive a power failure, and the journal may forget it.
        on_bad: is told of a line that turns out to be no call. (Others were told before.)
    """

    def __init__(
        self,
        client: BatchOpenAI,
        source: InputFile,
        output: OutputFile,
        errors: OutputFile,
        progress: Progress,
        on_bad: Callable[[BadLine], None],
        *,
        ordered: bool,
        ahead: int,
        ahead_bytes: float,
        sync_seconds: float = SYNC_SECONDS,
    ) -> None:
        self.counts: Counts = Counts()
        self._client = client
        self._source = source
        self._output = output
        self._errors = errors
        self._progress = progress
        self._on_bad = on_bad
        self._known = KnownIds()
        self._has_stopped = self._has_read_all = False
        self._asked = 0
        self._refused_in_a_row = 0
        self._calls = read_ahead(client, self._unanswered(), ordered=ordered, ahead=ahead, ahead_bytes=ahead_bytes)
        self._unsynced: list[CallUnderWay[InputLine]] = []
        self._unsynced_bytes = 0
        self._synced_at = 0.0
        self._sync_seconds = sync_seconds

    async def run(self) -> None:
        """Ask until every line has an outcome.

        Raises:
            OutputError: if an output cannot be read or written.

        Cancelled: what was not written stays in the journal, and batches go on running for the next run.
        """
        deliveries = deliveries_of(self._client)
        unclaimed = {} if deliveries is None else deliveries.unclaimed()
        written = await to_thread.run_sync(self._open, unclaimed)
        if deliveries is not None:  # an earlier run was killed before it could say so
            deliveries.forget(unclaimed[line_id] for line_id in written)
        self._progress.requests = max(self.counts.lines - self.counts.bad - len(self._known), 0)
        self._synced_at = anyio.current_time()
        try:
            while calls := await self._calls.next(AT_ONCE):
                await self._write(calls)
            await self._sync()
        finally:
            if not self._has_read_all:
                self.counts.earlier = len(self._known)
        if self._has_stopped:
            self.counts.unsent += max(self._progress.requests - self._asked, 0)

    @property
    def is_complete(self) -> bool:
        """Whether every call has an outcome that was written."""
        return not self.counts.unsent and not self._has_stopped

    def _open(self, unclaimed: Collection[str]) -> list[str]:
        """Open the outputs. Returns the names of those unclaimed lines of the journal that are in them."""
        outputs = dict.fromkeys((self._output, self._errors))
        found = [output.open(self._known, unclaimed) for output in outputs]
        self.counts.earlier_failed = sum(each.failed for each in found)
        return [line_id for each in found for line_id in each.written]

    def _unanswered(self) -> Iterator[InputLine]:
        for line in self._source.lines():
            if self._has_stopped:
                break
            if isinstance(line, InputLine):
                if line.custom_id in self._known:
                    self.counts.earlier += 1
                else:
                    self._asked += 1
                    yield line
        else:
            self._has_read_all = True
        self._client.flush()

    async def _write(self, calls: list[CallUnderWay[InputLine]]) -> None:
        answers, failures = bytearray(), bytearray()
        for call in calls:
            line, is_failed = self._line_of(call)
            if is_failed:
                failures += line
            else:
                answers += line
        if self._errors is self._output:
            answers += failures
            failures.clear()
        await to_thread.run_sync(self._append, bytes(answers), bytes(failures))
        self._unsynced += calls
        self._unsynced_bytes += len(answers) + len(failures)
        if self._is_time_to_sync():
            await self._sync()

    def _append(self, answers: bytes, failures: bytes) -> None:
        if answers:
            self._output.write(answers)
        if failures:
            self._errors.write(failures)

    def _is_time_to_sync(self) -> bool:
        waited = anyio.current_time() - self._synced_at
        return waited >= self._sync_seconds or len(self._unsynced) >= SYNC_CALLS or self._unsynced_bytes >= SYNC_BYTES

    async def _sync(self) -> None:
        await to_thread.run_sync(self._sync_files)
        self._calls.delivered(call for call in self._unsynced if not is_left_for_later(call.outcome))
        self._unsynced, self._unsynced_bytes, self._synced_at = [], 0, anyio.current_time()

    def _sync_files(self) -> None:
        self._output.sync()
        if self._errors is not self._output:
            self._errors.sync()

    def _line_of(self, call: CallUnderWay[InputLine]) -> tuple[bytes, bool]:
        """The line to write, if any, and whether it is of a failure."""
        outcome, custom_id = call.outcome, call.asked.custom_id
        if isinstance(outcome, Answer):
            is_failed = not 200 <= outcome.status_code < 300
            self._count(outcome, is_failed=is_failed)
            return answer_line(custom_id, outcome), is_failed
        assert outcome is not None
        if isinstance(outcome, UnbatchableRequestError):
            self.counts.bad += 1
            self._on_bad(BadLine(call.asked.number, outcome.message))
            self._progress.failed += 1
            return b"", True
        if is_left_for_later(outcome):
            self._leave_for_later(outcome)
            return b"", True
        self.counts.failed += 1
        self._progress.fail(outcome)
        return failure_line(custom_id, outcome), True

    def _count(self, answer: Answer, *, is_failed: bool) -> None:
        if is_failed:
            self.counts.failed += 1
            self._progress.failed += 1
            self._progress.errors[f"HTTP {answer.status_code}"] += 1
        else:
            self.counts.answered += 1
            self._refused_in_a_row = 0
            self._progress.answered += 1

    def _leave_for_later(self, error: Exception) -> None:
        self.counts.unsent += 1
        reasons = self.counts.why_unsent
        about, reason = why_unsent(error)
        if about in reasons or len(reasons) < _MOST_REASONS:
            reasons[about] = reason
        if isinstance(error, BudgetExceededError):
            self._refused_in_a_row += error.cap is not None
            is_hopeless = self._refused_in_a_row >= MOST_REFUSED or (error.cap is not None and error.spent >= error.cap)
        else:
            is_refused = isinstance(error, BatchSubmissionError) and error.status_code in ABOUT_THE_ACCOUNT
            is_hopeless = is_refused and not self._progress.submitted_batches
        self._has_stopped |= is_hopeless


_MOST_REASONS = 5


def is_left_for_later(outcome: object) -> bool:
    """Whether a call has no outcome of its own: nothing was sent, or its batch may still run."""
    if isinstance(outcome, BatchUnreachableError):
        return outcome.batch_id is not None  # without one it was a call on another lane, which may have been billed
    if isinstance(outcome, BatchSubmissionError | BudgetExceededError | ClientClosedError | EngineError | JournalError):
        return True
    return isinstance(outcome, Exception) and not isinstance(outcome, BatchError)


def why_unsent(error: Exception) -> tuple[str, str]:
    """What kept a call from being sent: a flag or the message itself, and a sentence about it."""
    if not isinstance(error, BudgetExceededError):
        message = getattr(error, "message", str(error))
        return message, message
    if error.cap is None:
        return error.reason, f"{error.reason} Give the price by --prices, or allow it by --unknown-prices admit."
    asked = "of unknown price" if error.asked is None else f"of up to {dollars(error.asked)}"
    return error.setting, (
        f"--max-cost: {dollars(error.spent)} of {dollars(error.cap)} are spent, and a line {asked} did not fit. "
        "Raise it, or set a limit of output tokens in the lines."
    )
