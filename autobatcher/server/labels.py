"""The values of labels: few, whatever callers ask for and upstreams answer. Pure."""

from __future__ import annotations

from ..printable import printable

MOST_MODELS = 20
"""How many models have a label of their own."""

MOST_CHARACTERS = 100
"""Longer names of models have none."""

OTHER = "other"

LANES = ("batch", "flex", "realtime")
_LANES_AND_TIERS = frozenset({*LANES, "priority", "scale"})

NO_RESPONSE = "none"
"""The lane and the status class of a request that got no response."""


class ModelLabels:
    """The models with a label of their own: the first ones that were answered.

    Callers choose the names of models, also of models that do not exist; an upstream answers for those that do.
    """

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}

    @property
    def is_full(self) -> bool:
        """Whether no further model gets a label of its own."""
        return len(self._labels) >= MOST_MODELS

    def learn(self, model: str) -> None:
        """An upstream has answered for this model. Labels that were given stay."""
        if not self.is_full and 0 < len(model) <= MOST_CHARACTERS:
            self._labels.setdefault(model, printable(model))

    def of(self, model: str) -> str:
        """The label of a model. Any thread may ask."""
        return self._labels.get(model, OTHER)


def lane_label(lane: str) -> str:
    """The label of a lane, or of a service tier."""
    return lane if lane in _LANES_AND_TIERS else OTHER


def status_class(status: int) -> str:
    """The label of an HTTP status, such as "2xx"."""
    return f"{status // 100}xx"
