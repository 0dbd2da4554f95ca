"""How long batches and calls took, and how long the next ones may take. Pure."""

from __future__ import annotations

import math

import msgspec

from .cancellations import Cancellations
from .kinds import Key, Kind
from .quiet_spell import quiet_seconds
from .spread import BUCKETS, Curve, Sketch, chance_of_longer, log_normal_curve, seconds_at

MAX_KINDS = 256
"""How many kinds are remembered. The one that was not observed for longest is forgotten first."""

PRIOR_WEIGHT = 8.0
"""How many observations the more general knowledge counts for: the provider's for a model, public figures for a
provider. After as many of its own, a kind believes itself half."""

HALF_LIFE_SECONDS = 3 * 86_400.0
"""After how long an observation counts half, in seconds. A provider's bad day must not keep requests out of batches for
good, since batches that are not sent are not observed. Nightly jobs must still learn from each other."""

LEAST_WEIGHT = 3 * PRIOR_WEIGHT
"""How much must be known of a kind itself before it is left alone for longer than others."""

_FADE_EVERY_SECONDS = 3_600.0

_FORMAT = 1
_MAX_WEIGHT = 1_000.0


class _Stored(msgspec.Struct):
    """What is kept. The format changes with the buckets and with the keys."""

    format: int
    wall_time: float | None
    kinds: list[tuple[Key, list[tuple[int, float]], list[tuple[int, float]]]]
    cancellations: dict[str, list[float]] = {}


class Durations:
    """How long batches and calls took, by kind.

    A kind of which little was seen is judged by its provider's others, and these by public figures.

    Attributes:
        cancellations: how long those of batches took.
    """

    def __init__(self) -> None:
        self.cancellations: Cancellations = Cancellations()
        self._sketches: dict[Key, Sketch] = {}
        self._wall_time: float | None = None

    def __bool__(self) -> bool:
        """Whether anything was observed."""
        return bool(self._sketches) or bool(self.cancellations)

    def adopt(self, other: Durations) -> None:
        """Know what the other one knows, and nothing else. It must not be used any more."""
        self._sketches, self._wall_time = other._sketches, other._wall_time
        self.cancellations = other.cancellations

    def record(self, kind: Kind, seconds: float, *, is_done: bool) -> None:
        """Record how long a batch or a call took.

        Args:
            kind: which.
            seconds: how long, in seconds. What cannot be a duration is ignored.
            is_done: whether it was done by then. If not, it was cut off, and would have taken longer.
        """
        if not 0 <= seconds < math.inf:
            return
        for key in kind.levels():
            sketch = self._sketches.pop(key, None) or Sketch()
            sketch.add(seconds, is_done=is_done)
            self._sketches[key] = sketch
        while len(self._sketches) > MAX_KINDS:
            del self._sketches[next(iter(self._sketches))]

    def pass_time(self, wall_now: float) -> None:
        """Let observations fade with time. Cheap, so that it can be called before every question.

        Args:
            wall_now: the time now, in seconds since 1970. A clock that was set back does no harm.
        """
        if self._wall_time is None or wall_now < self._wall_time:
            self._wall_time = wall_now
        elif (elapsed := wall_now - self._wall_time) >= _FADE_EVERY_SECONDS:
            self._wall_time = wall_now
            for sketch in self._sketches.values():
                sketch.fade(0.5 ** (elapsed / HALF_LIFE_SECONDS))

    def chance(self, kind: Kind, seconds: float) -> float:
        """The chance to be done within these seconds, from 0 to 1. It never falls with more seconds."""
        return 1.0 - chance_of_longer(self._curve(kind), seconds)

    def quantile(self, kind: Kind, share: float) -> float:
        """Within how many seconds this share (0 to 1) is done."""
        return seconds_at(self._curve(kind), 1.0 - share)

    def remaining_quantile(self, kind: Kind, age_seconds: float, share: float) -> float:
        """Within how many more seconds this share (0 to 1) is done, of those that were not done at this age."""
        curve = self._curve(kind)
        left = chance_of_longer(curve, age_seconds)
        return max(0.0, seconds_at(curve, left * (1.0 - share)) - max(0.0, age_seconds)) if left > 0 else 0.0

    def quiet_seconds(self, kind: Kind, age_seconds: float, interval: float) -> float | None:
        """How many seconds such a one can be left alone at this age; None if too few of its kind were observed.

        Args:
            interval: how often it is looked at when its end is likely, in seconds.
        """
        sketch = self._sketches.get(kind.levels()[-1])
        if sketch is None or math.fsum(sketch.done.values()) < LEAST_WEIGHT:
            return None
        return quiet_seconds(self._curve(kind), age_seconds, interval)

    def encoded(self) -> bytes:
        """All of it, to be kept; some hundred kilobytes at most."""
        kinds = [(key, _rounded(sketch.done), _rounded(sketch.cut)) for key, sketch in self._sketches.items()]
        return msgspec.json.encode(_Stored(_FORMAT, self._wall_time, kinds, self.cancellations.recent))

    @classmethod
    def decoded(cls, content: bytes) -> Durations:
        """What was encoded. What is damaged, or of another version, counts as nothing observed."""
        durations = cls()
        try:
            stored = msgspec.json.decode(content, type=_Stored)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return durations
        if stored.format == _FORMAT:
            durations._wall_time = stored.wall_time
            durations.cancellations = Cancellations(stored.cancellations)
            for key, done, cut in stored.kinds[-MAX_KINDS:]:
                durations._sketches[key] = Sketch(_sound(done), _sound(cut))
        return durations

    def _curve(self, kind: Kind) -> Curve:
        curve = log_normal_curve(kind.expected())
        for key in kind.levels():
            if sketch := self._sketches.get(key):
                curve = sketch.curve(curve, PRIOR_WEIGHT)
        return curve


def _rounded(weights: dict[int, float]) -> list[tuple[int, float]]:
    return [(bucket, round(weight, 4)) for bucket, weight in weights.items()]


def _sound(weights: list[tuple[int, float]]) -> dict[int, float]:
    return {bucket: weight for bucket, weight in weights if 0 <= bucket < BUCKETS and 0 < weight <= _MAX_WEIGHT}
