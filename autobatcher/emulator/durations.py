"""How long something takes: a number of seconds, a log-normal distribution, or what was recorded."""

from __future__ import annotations

import math
from random import Random
from typing import Annotated, TypeAlias

import msgspec

_Z_90 = 1.2815515655446004  # the 90 % quantile of the standard normal distribution


class LogNormal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind",
                tag="log_normal"):  # fmt: skip
    """Half take less than `median_seconds`, nine of ten less than `p90_seconds`.

    Another `seed` gives other draws.

    Raises:
        ValueError: unless 0 < median_seconds <= p90_seconds.
    """

    median_seconds: float
    p90_seconds: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.median_seconds <= self.p90_seconds < math.inf:
            raise ValueError(
                f"0 < median_seconds <= p90_seconds must hold: {self.median_seconds} and {self.p90_seconds}"
            )

    def draw(self, number: int, seed: int) -> float:
        sigma = math.log(self.p90_seconds / self.median_seconds) / _Z_90
        dice = Random(f"{seed}:{self.seed}:{number}")  # noqa: S311 - a test's dice
        return dice.lognormvariate(math.log(self.median_seconds), sigma)


class Recorded(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="recorded"):
    """The n-th batch, call or fault takes the n-th of these; after the last it starts again.

    Raises:
        ValueError: if there are none, or one is negative or endless.
    """

    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.seconds or not all(0 <= each < math.inf for each in self.seconds):
            raise ValueError(f"at least one duration is needed, and none below 0: {self.seconds}")

    def draw(self, number: int, seed: int) -> float:
        return self.seconds[(number - 1) % len(self.seconds)]


Duration: TypeAlias = Annotated[float, msgspec.Meta(ge=0)] | LogNormal | Recorded


def seconds_of(duration: Duration, number: int, seed: int) -> float:
    """The duration of the `number`-th (from 1) of its kind; the same for the same seed."""
    return duration.draw(number, seed) if isinstance(duration, LogNormal | Recorded) else duration
