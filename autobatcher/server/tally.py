"""Running counts of the proxy's requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ..engine.request import Answer, Request
from ..errors import BatchError, BudgetExceededError, DeadlineMissedError
from ..money.usage import usage_of

LATENCY_BUCKETS = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 10_800.0, 43_200.0, 86_400.0)
"""Upper bounds in seconds, up to a day."""


@dataclass
class Tally:
    """Counts of batchable requests by outcome, and of the tokens in their answers.

    Attributes:
        reattached: how many retries were reattached to a pending call.
        lanes: responses of the upstream, by the lane that they were got on.
        deadlines_missed: how many requests had no answer by their deadline.
        refused: calls that were not sent for want of money, by the setting that refused them.
        statuses: outcomes by HTTP status; 0 for requests without a response.
        waited: outcomes by latency bucket; infinity for those above the last one.
        seconds: total time that all requests waited.
        on_answer: called with each request that got a good answer.
    """

    requests: int = 0
    answered: int = 0
    failed: int = 0
    reattached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    deadlines_missed: int = 0
    lanes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    waited: Counter[float] = field(default_factory=Counter)
    on_answer: Callable[[Request], None] | None = None

    def take(self, request: Request, seconds: float) -> None:
        """Count the outcome of a request that waited for `seconds`."""
        self.seconds += seconds
        self.waited[next((bucket for bucket in LATENCY_BUCKETS if seconds <= bucket), float("inf"))] += 1
        try:
            answer = request.result()
        except BatchError as error:
            self.failed += 1
            self.statuses[0] += 1
            self.deadlines_missed += isinstance(error, DeadlineMissedError)
            self.take_refusal(error)
            return
        self.lanes[answer.lane] += 1
        self.statuses[answer.status_code] += 1
        self._take_answer(request, answer)

    def take_refusal(self, error: BatchError) -> None:
        """Count an error, if it says that there is no money for the call."""
        if isinstance(error, BudgetExceededError):
            self.refused[error.setting] += 1

    def _take_answer(self, request: Request, answer: Answer) -> None:
        if answer.status_code >= 400:
            self.failed += 1
            return
        self.answered += 1
        if self.on_answer is not None:
            self.on_answer(request)
        if (usage := usage_of(answer.body)) is not None:
            self.input_tokens += usage.input
            self.output_tokens += usage.output
