"""The two histograms of the conventions: how long calls take, and how many tokens they use."""

from __future__ import annotations

from opentelemetry.metrics import Meter

from ..money.usage import Usage
from .attributes import Attributes

DURATION_BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKEN_BUCKETS = tuple(4**power for power in range(14))

MOST_MODELS = 100
"""How many names of models are told apart, and how many of those that answers give: strangers may invent any number."""

OTHER = "_OTHER"
_MODELS = ("gen_ai.request.model", "gen_ai.response.model")


class Metrics:
    """The instruments of one engine."""

    def __init__(self, meter: Meter) -> None:
        self._durations = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=TOKEN_BUCKETS,
        )
        self._known: dict[str, set[str]] = {name: set() for name in _MODELS}

    def record(self, attributes: Attributes, seconds: float, usage: Usage | None, error: str | None) -> None:
        """Record one call."""
        attributes = self._bounded(attributes)
        self._durations.record(seconds, attributes if error is None else {**attributes, "error.type": error})
        if usage is not None:
            self._tokens.record(usage.input, {**attributes, "gen_ai.token.type": "input"})
            self._tokens.record(usage.output, {**attributes, "gen_ai.token.type": "output"})

    def _bounded(self, attributes: Attributes) -> Attributes:
        bounded = {name: value for name, value in attributes.items() if name != "gen_ai.response.id"}
        for name, known in self._known.items():
            model = bounded.get(name)
            if isinstance(model, str) and model not in known:
                if len(known) < MOST_MODELS:
                    known.add(model)
                else:
                    bounded[name] = OTHER
        return bounded
