"""Counts of the proxy's requests by model, endpoint and lane."""

from __future__ import annotations

from collections import Counter
from functools import reduce

from ..engine.request import Answer, Request
from ..money.usage import Usage
from .histogram import Histogram
from .labels import NO_RESPONSE, ModelLabels, lane_label, status_class


class ModelCounts:
    """Outcomes, waits and tokens by model.

    Attributes:
        labels: the models that are told apart.
        outcomes: by model, endpoint, lane and status class.
        waits: by model and lane.
        usages: tokens by model and lane.
    """

    def __init__(self) -> None:
        self.labels: ModelLabels = ModelLabels()
        self.outcomes: Counter[tuple[str, str, str, str]] = Counter()
        self.waits: dict[tuple[str, str], Histogram] = {}
        self.usages: dict[tuple[str, str], Usage] = {}

    def take_error(self, request: Request, seconds: float) -> None:
        """Count a request that got no response after so many seconds."""
        self._take(request, NO_RESPONSE, NO_RESPONSE, seconds)

    def take_answer(self, request: Request, answer: Answer, usage: Usage | None, seconds: float) -> None:
        """Count a response. `usage`: its tokens, if it is good and tells them."""
        if 200 <= answer.status_code < 300:
            self.labels.learn(request.model)
        lane = lane_label(answer.lane)
        model = self._take(request, lane, status_class(answer.status_code), seconds)
        if usage is not None:
            known = self.usages.get((model, lane))
            self.usages[model, lane] = usage if known is None else known.plus(usage)

    @property
    def tokens(self) -> dict[tuple[str, str, str], int]:
        """Tokens by model, lane and kind, such as "input"."""
        told = self.usages.items()
        return {(*where, kind): count for where, usage in told for kind, count in usage._asdict().items()}

    @property
    def usage(self) -> Usage:
        """All tokens."""
        return reduce(Usage.plus, self.usages.values(), Usage())

    def _take(self, request: Request, lane: str, result: str, seconds: float) -> str:
        model = self.labels.of(request.model)
        self.outcomes[model, request.endpoint, lane, result] += 1
        wait = self.waits.get((model, lane))
        if wait is None:
            wait = self.waits[model, lane] = Histogram()
        wait.add(seconds)
        return model
