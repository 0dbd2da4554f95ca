"""One batch. Its state is a pure function of the time, updated on each request.

`Batch.advance(now)` walks the status machine of OpenAI's guide (validating → in_progress → finalizing →
completed; failed, expired, cancelling → cancelled) as far as `now` allows, and writes the answers that are due.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from .answers import Answer
from .dialects import OpenAIDialect
from .faults import BatchFault, LineFault
from .lines import Line
from .outcomes import Outcomes
from .settings import Settings, window_seconds
from .store import Store, StoreFullError
from .validation import Checked, Problem
from .wire import RefusedError

TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})
# Guards `int()` against rounding errors in a line's due time.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The parameters of POST /batches, and the faults planned for the batch.

    `check` validates the input file, `find_faults` looks up the faults of its lines.
    """

    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None
    input_file_id: str
    check: Callable[[], Checked]
    find_faults: Callable[[list[Line]], dict[int, LineFault]]
    fate: BatchFault


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a batch needs of its emulator.

    `answer` gives the answer to (url, body) at a wall-clock second; `wall` converts a time of the clock to wall-clock
    time.
    """

    settings: Settings
    dialect: OpenAIDialect
    store: Store
    answer: Callable[[str, bytes, int], Answer]
    wall: Callable[[float], float]


class Batch:
    """The `number`-th batch of an emulator (from 1), created at the clock's time `created`."""

    def __init__(self, batch_id: str, number: int, order: Order, created: float, around: Surroundings) -> None:
        self.id = batch_id
        self.number = number
        self.order: Order = order
        self.status: str = "validating"
        self.reached: dict[str, float] = {"created": created}
        """The clock's time at which each status was reached."""
        self.lines: list[Line] = []
        self.total: int = 0
        self.models: tuple[str, ...] = ()
        self.problems: list[Problem] = []
        self.outcomes: Outcomes = Outcomes(batch_id, order.fate, around.dialect, around.store)
        self.around = around
        self._sequence: list[int] = []
        """The indices of the lines in the order of work; the first `_done` are done."""
        self._done = 0
        self._seen = created
        self._end = (math.inf, "finalizing")

    # What can be asked

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def expires(self) -> float | None:
        """The clock's time at which the completion window ends; None if it never does."""
        seconds = window_seconds(self.order.completion_window)
        return None if seconds is None else self.reached["created"] + seconds

    @property
    def overdue(self) -> float | None:
        """The clock's time at which the batch became late; None if it is not."""
        late = self.expires is not None and self._seen >= self.expires
        return self.expires if late else None

    # What can be done

    def advance(self, now: float) -> None:
        """Advances the batch to `now`."""
        self._seen = now
        settings = self.around.settings
        if self.status == "validating" and now >= self.reached["created"] + settings.validating_seconds:
            self._validate(self.reached["created"] + settings.validating_seconds)
        if self.status == "in_progress":
            self._work(now)
        if self.status == "finalizing" and now >= self.reached["finalizing"] + settings.finalizing_seconds:
            end = self.around.dialect.end_of_work(self.outcomes.completed, self.total)
            self._finish(end, self.reached["finalizing"] + settings.finalizing_seconds)
        if self.status == "cancelling" and self._is_at_rest(now):
            self._finish("cancelled", now)

    def cancel(self, now: float) -> None:
        """Stops all work that is not done. Raises `RefusedError` (400) if the batch has ended."""
        self.advance(now)
        if self.is_terminal:
            status = self.around.dialect.cannot_cancel_status
            raise RefusedError(status, f"Cannot cancel a batch with status '{self.status}'.")
        if self.status != "cancelling":
            self._enter("cancelling", now)

    def fail_for_want_of_room(self, error: StoreFullError, now: float) -> None:
        """Ends a batch whose results do not fit into the store."""
        self.problems = [Problem("storage_limit_exceeded", str(error))]
        self._finish("failed", now)

    def forget_lines(self) -> None:
        """Releases the lines of a batch that has ended."""
        self.lines, self._sequence, self._done = [], [], 0
        self.outcomes.billed.clear()
        self.outcomes.faults.clear()

    # The status machine

    def _enter(self, status: str, at: float) -> None:
        self.status = status
        self.reached[status] = at

    def _validate(self, at: float) -> None:
        checked = self.order.check()
        # Releases the input file, which `check` refers to.
        self.order = replace(self.order, check=Checked)
        self.problems = checked.problems or self._fated_problems()
        if self.problems:
            self._finish("failed", at)
            return
        self._take(checked.lines)
        self._enter("in_progress", at)
        self._end = self._find_end(at)

    def _take(self, lines: list[Line]) -> None:
        self.lines, self.total = lines, len(lines)
        self.models = tuple(dict.fromkeys(line.model for line in lines))
        self.outcomes.faults = self.order.find_faults(lines)
        self._sequence = list(range(self.total))
        if self.around.settings.shuffle:
            dice = Random(f"{self.around.settings.seed}:{self.number}")  # noqa: S311 - an order, not a secret
            dice.shuffle(self._sequence)

    def _fated_problems(self) -> list[Problem]:
        """The validation errors of a fault that fails the batch before it starts."""
        fate = self.order.fate
        if fate.ends != "failed" or fate.after > 0:
            return []
        code = fate.error_code or "invalid_request"
        return [Problem(code, fate.error_message, line) for line in fate.error_lines or (None,)]

    def _find_end(self, start: float) -> tuple[float, str]:
        """When the work ends, and with which status."""
        fate, seconds = self.order.fate, self.around.settings.batch_seconds
        end: tuple[float, str] = (start + seconds, "finalizing")
        if fate.ends is not None:
            end = (math.inf if fate.ends == "stuck" else start + seconds * fate.after, fate.ends)
        if self.around.dialect.expires and self.expires is not None and self.expires < end[0]:
            end = (self.expires, "expired")
        return end

    def _work(self, now: float) -> None:
        at, status = self._end
        try:
            self._answer(self._due(min(now, at)))
        except StoreFullError as error:
            self.fail_for_want_of_room(error, now)
            return
        if now >= at:
            self._leave_work(status, at)

    def _leave_work(self, status: str, at: float) -> None:
        if status == "failed" and not self.problems:
            fate = self.order.fate
            self.problems = [Problem(fate.error_code or "batch_failed", fate.error_message)]
        if status in TERMINAL:
            self._finish(status, at)
        else:
            self._enter(status, at)

    def _due(self, at: float) -> int:
        """How many lines are ready at the time `at`."""
        fate, seconds = self.order.fate, self.around.settings.batch_seconds
        elapsed = at - self.reached["in_progress"]
        ready = self.total if elapsed >= seconds else int(elapsed / seconds * self.total + _ROUNDING)
        return ready if fate.ends is None else min(ready, int(self.total * fate.after + _ROUNDING))

    def _answer(self, due: int) -> None:
        second = int(self.around.wall(self.reached["in_progress"]))
        while self._done < due:
            line = self.lines[self._sequence[self._done]]
            self._done += 1
            self.outcomes.settle(line, lambda: self.around.answer(line.url, line.body, second))  # noqa: B023
        self.outcomes.flush()

    def _is_at_rest(self, now: float) -> bool:
        """Whether a cancelled batch has nothing in flight any more."""
        return now >= self.reached["cancelling"] + self.around.settings.cancelling_seconds

    def _finish(self, status: str, at: float) -> None:
        fated = status == self.order.fate.ends
        if (status == "expired" or (status == "cancelled" and fated)) and self.order.fate.list_unfinished:
            rest = [self.lines[index] for index in self._sequence[self._done :]]
            self.outcomes.list_unfinished(rest, status)
        try:
            self.outcomes.finish()
        except StoreFullError as error:
            self.problems, status = [Problem("storage_limit_exceeded", str(error))], "failed"
        self._enter(status, at)
