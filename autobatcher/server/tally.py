"""Running counts of the proxy's requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ..engine.request import Answer, Request
from ..errors import BatchError, BudgetExceededError, DeadlineMissedError
from ..money.usage import Usage, usage_of
from .histogram import Histogram
from .model_counts import ModelCounts


@dataclass
class Tally:
    """Counts of batchable requests by outcome, and of the tokens in their answers.

    Attributes:
        reattached: how many retries were reattached to a pending call.
        lanes: responses of the upstream, by the lane that they were got on.
        deadlines_missed: how many requests had no answer by their deadline.
        refused: calls that were not sent for want of money, by the setting that refused them.
        statuses: outcomes by HTTP status; 0 for requests without a response.
        waits: how long requests waited for their outcomes.
        by_model: the same by model.
        webhooks: those of the provider, by what became of them.
        on_answer: called with each request that got a good answer.
    """

    requests: int = 0
    answered: int = 0
    failed: int = 0
    reattached: int = 0
    deadlines_missed: int = 0
    lanes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    waits: Histogram = field(default_factory=Histogram)
    by_model: ModelCounts = field(default_factory=ModelCounts)
    webhooks: Counter[str] = field(default_factory=Counter)
    on_answer: Callable[[Request], None] | None = None

    @property
    def usage(self) -> Usage:
        """The tokens of good answers."""
        return self.by_model.usage

    @property
    def input_tokens(self) -> int:
        """The tokens that good answers read."""
        return self.usage.input

    @property
    def output_tokens(self) -> int:
        """The tokens that good answers wrote."""
        return self.usage.output

    def take(self, request: Request, seconds: float) -> None:
        """Count the outcome of a request that waited for `seconds`."""
        self.waits.add(seconds)
        outcome = request.settled_as
        if isinstance(outcome, BatchError):
            self._take_error(outcome)
            self.by_model.take_error(request, seconds)
            return
        self.lanes[outcome.lane] += 1
        self.statuses[outcome.status_code] += 1
        self.by_model.take_answer(request, outcome, self._take_answer(request, outcome), seconds)

    def _take_error(self, error: BatchError) -> None:
        self.failed += 1
        self.statuses[0] += 1
        self.deadlines_missed += isinstance(error, DeadlineMissedError)
        self.take_refusal(error)

    def take_refusal(self, error: BatchError) -> None:
        """Count an error, if it says that there is no money for the call."""
        if isinstance(error, BudgetExceededError):
            self.refused[error.setting] += 1

    def _take_answer(self, request: Request, answer: Answer) -> Usage | None:
        """Count a response. Returns the tokens of a good one, if it tells them."""
        if answer.status_code >= 400:
            self.failed += 1
            return None
        self.answered += 1
        if self.on_answer is not None:
            self.on_answer(request)
        return usage_of(answer.body)
