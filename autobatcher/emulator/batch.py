"""One batch. Its state is a pure function of the time, updated on each request.

`Batch.advance(now)` walks the status machine of OpenAI's guide (validating → in_progress → finalizing →
completed; failed, expired, cancelling → cancelled) as far as `now` allows, and writes the answers that are due.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random

from .answers import Answer
from .bill import Charges
from .dialects import OpenAIDialect
from .durations import seconds_of
from .faults import BatchFault, Hit, LineFault
from .lines import Line
from .outcomes import Outcomes
from .pace import Pace
from .settings import Settings, window_seconds
from .store import Store, StoreFullError
from .validation import Checked, Problem
from .wire import RefusedError

logger: logging.Logger = logging.getLogger("autobatcher")

# Guards `int()` against rounding errors in a fraction of the lines.
_ROUNDING = 1e-9
TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The parameters of POST /batches, and the faults planned for the batch.

    `check` validates the input file, `find_faults` looks up the faults of its lines, `hit` is the batch's own.
    """

    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None
    input_file_id: str
    check: Callable[[], Checked]
    find_faults: Callable[[list[Line]], dict[int, LineFault]]
    hit: Hit[BatchFault]


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
        self.fate: BatchFault = order.hit.fault
        self.status: str = "validating"
        self.reached: dict[str, float] = {"created": created}
        """The clock's time at which each status was reached."""
        self.lines: list[Line] = []
        self.total: int = 0
        self.models: tuple[str, ...] = ()
        self.problems: list[Problem] = []
        charges = Charges(around.settings.prices, batch_id, order.completion_window)
        self.outcomes: Outcomes = Outcomes(self.fate, around.dialect, around.store, charges)
        self.around = around
        self._sequence: list[int] = []
        """The indices of the lines in the order of work; the first `_done` are done."""
        self._done = 0
        self._seen = created
        self._pace = Pace(start=created, seconds=0.0, total=0)
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
        """Advances the batch to `now`. A defect, or a fault that cannot be carried out, is logged and fails it."""
        try:
            self._advance(now)
        except Exception as error:
            logger.error("emulator: batch %s failed", self.id, exc_info=error)
            self._fail_for(error, now)

    def _advance(self, now: float) -> None:
        self._seen = now
        settings = self.around.settings
        if self.status == "validating":
            self._start(now)
        if self.status == "in_progress":
            self._work(now)
        if self.status == "finalizing" and now >= self.reached["finalizing"] + settings.finalizing_seconds:
            end = self.around.dialect.end_of_work(self.outcomes.completed, self.total)
            self._finish(end, self.reached["finalizing"] + settings.finalizing_seconds)
        if self.status == "cancelling":
            self._wind_down(now)

    def cancel(self, now: float) -> None:
        """Stops all work that is not in flight. Raises `RefusedError` (400) if the batch has ended."""
        self.advance(now)
        if self.is_terminal:
            status = self.around.dialect.cannot_cancel_status
            raise RefusedError(status, f"Cannot cancel a batch with status '{self.status}'.")
        if self.status != "cancelling":
            self._enter("cancelling", now)
            self._pace = self._find_last_pace(now)

    def fail_for_want_of_room(self, error: StoreFullError, now: float) -> None:
        """Ends a batch whose results do not fit into the store."""
        self.problems = [Problem("storage_limit_exceeded", str(error))]
        self._finish("failed", now)

    def _fail_for(self, error: Exception, now: float) -> None:
        self.problems = [Problem("emulator_error", f"The emulator failed: {error!r}")]
        with suppress(Exception):  # it may be what failed
            self.outcomes.finish()
        self._enter("failed", now)

    def forget_lines(self) -> None:
        """Releases the lines of a batch that has ended."""
        self.lines, self._sequence, self._done = [], [], 0
        self.outcomes.billed.clear()
        self.outcomes.faults.clear()

    # The status machine

    def _enter(self, status: str, at: float) -> None:
        self.status = status
        self.reached[status] = at

    @property
    def _expiry(self) -> float:
        """When the batch expires if it has not ended; `inf` if never."""
        return self.expires if self.around.dialect.expires and self.expires is not None else math.inf

    def _start(self, now: float) -> None:
        """Validates the batch when it is time, or expires it if that never comes."""
        fate = self.fate
        never = fate.ends == "stuck" and fate.stuck_in == "validating"
        at = math.inf if never else self.reached["created"] + self.around.settings.validating_seconds
        if now >= at and at <= self._expiry:
            self._validate(at)
        elif now >= self._expiry:
            self._take(self._check().lines)
            self._finish("expired", self._expiry)

    def _validate(self, at: float) -> None:
        checked = self._check()
        self.problems = checked.problems or self._fated_problems()
        if self.problems:
            self._finish("failed", at)
            return
        self._take(checked.lines)
        self._enter("in_progress", at)
        self._pace = self._find_pace(at)
        self._end = self._find_end()

    def _check(self) -> Checked:
        checked = self.order.check()
        # Releases the input file, which `check` refers to.
        self.order = replace(self.order, check=Checked)
        return checked

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
        fate = self.fate
        if fate.ends != "failed" or fate.after > 0:
            return []
        code = fate.error_code or "invalid_request"
        return [Problem(code, fate.error_message, line) for line in fate.error_lines or (None,)]

    def _find_pace(self, start: float) -> Pace:
        """When its lines are done, unless it ends before."""
        fate, settings = self.fate, self.around.settings
        if fate.takes is None:
            seconds = settings.seconds_of_batch(self.number, self.order.completion_window)
        else:
            seconds = self.order.hit.seconds(fate.takes)
        start += self.order.hit.seconds(fate.waits_seconds)
        return Pace(start=start, seconds=seconds, total=self.total, at_once=fate.at_once)

    def _find_end(self) -> tuple[float, str]:
        """When the work ends, and with which status."""
        fate, pace = self.fate, self._pace
        end: tuple[float, str] = (pace.end, "finalizing")
        if fate.ends is not None:
            end = (math.inf if fate.ends == "stuck" else pace.start + pace.seconds * fate.after, fate.ends)
        return (self._expiry, "expired") if self._expiry < end[0] else end

    def _find_last_pace(self, start: float) -> Pace:
        """When the lines are done that are in flight at a cancellation."""
        fate, settings = self.fate, self.around.settings
        if fate.cancelling_seconds is None:
            seconds = seconds_of(settings.cancelling_seconds, self.number, settings.seed)
        else:
            seconds = self.order.hit.seconds(fate.cancelling_seconds)
        share = fate.finished_while_cancelling
        share = settings.finished_while_cancelling if share is None else share
        dice = Random(f"{settings.seed}:{self.number}:cancelling")  # noqa: S311 - a test's dice
        in_flight = sum(dice.random() < share for _ in range(self._most - self._done))
        return Pace(start=start, seconds=seconds, done=self._done, total=self._done + in_flight)

    @property
    def _most(self) -> int:
        """How many lines the batch ever works on."""
        fate = self.fate
        return self.total if fate.ends is None else int(self.total * fate.after + _ROUNDING)

    def _work(self, now: float) -> None:
        at, status = self._end
        if self._answer_due(min(now, at), now) and now >= at:
            self._leave_work(status, at)

    def _wind_down(self, now: float) -> None:
        end = self._pace.end
        if self._answer_due(min(now, end), now) and now >= end:
            self._finish("cancelled", end)

    def _leave_work(self, status: str, at: float) -> None:
        if status == "failed" and not self.problems:
            fate = self.fate
            self.problems = [Problem(fate.error_code or "batch_failed", fate.error_message)]
        if status in TERMINAL:
            self._finish(status, at)
        else:
            self._enter(status, at)

    def _answer_due(self, at: float, now: float) -> bool:
        """Answers the lines that are done at the time `at`; False if there was no room for them."""
        due = min(self._pace.done_by(at), self._most)
        second = int(self.around.wall(self.reached.get("in_progress", at)))
        while self._done < due:
            line = self.lines[self._sequence[self._done]]
            self._done += 1
            done_at = self._pace.done_at(self._done)
            self.outcomes.settle(line, lambda: self.around.answer(line.url, line.body, second), done_at)  # noqa: B023
        try:
            self.outcomes.flush()
        except StoreFullError as error:
            self.fail_for_want_of_room(error, now)
            return False
        return True

    def _lists_unfinished(self, status: str) -> bool:
        """Whether the error file names the lines that were not executed."""
        fate = self.fate
        cancelled = status == "cancelled" and (fate.ends == "cancelled" or self.around.dialect.lists_cancelled)
        return fate.list_unfinished and (status == "expired" or cancelled)

    def _finish(self, status: str, at: float) -> None:
        if self._lists_unfinished(status):
            rest = [self.lines[index] for index in self._sequence[self._done :]]
            self.outcomes.list_unfinished(rest, status)
        try:
            self.outcomes.finish()
        except StoreFullError as error:
            self.problems, status = [Problem("storage_limit_exceeded", str(error))], "failed"
        self._enter(status, at)
