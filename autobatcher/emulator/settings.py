"""The settings of an emulator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from .answers.metering import Metering
from .durations import Duration, seconds_of
from .prices import PriceList

BatchDuration: TypeAlias = Duration | Mapping[str, Duration]
"""For any batch, or by completion window."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATIONS = (
    "batch_seconds",
    "validating_seconds",
    "finalizing_seconds",
    "cancelling_seconds",
    "realtime_seconds",
    "flex_seconds",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Documented in `Emulator`."""

    batch_seconds: BatchDuration
    validating_seconds: float
    finalizing_seconds: float
    cancelling_seconds: Duration
    finished_while_cancelling: float
    realtime_seconds: Duration
    flex_seconds: Duration
    metering: Metering
    prices: PriceList
    api_key: str | None = field(repr=False)
    max_requests: int
    max_file_bytes: int
    max_embedding_inputs: int
    max_enqueued_requests: int | None
    max_batches_per_hour: int | None
    completion_windows: tuple[str, ...]
    seed: int
    shuffle: bool

    def __post_init__(self) -> None:
        for name in _DURATIONS:
            given = getattr(self, name)
            if isinstance(given, int | float) and given < 0:
                raise ValueError(f"{name} must not be negative: {given}")
        if not 0 <= self.finished_while_cancelling <= 1:
            raise ValueError(f"finished_while_cancelling must be from 0 to 1: {self.finished_while_cancelling}")
        if isinstance(self.batch_seconds, Mapping):
            self._check_windows(self.batch_seconds)
        for name in ("max_requests", "max_file_bytes", "max_embedding_inputs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1: {getattr(self, name)}")

    def _check_windows(self, durations: Mapping[str, Duration]) -> None:
        missing = sorted(set(self.completion_windows) - set(durations))
        if missing or not self.completion_windows:
            raise ValueError(f"batch_seconds lacks a duration for {', '.join(missing) or 'any other window'}")

    def seconds_of_batch(self, number: int, window: str) -> float:
        """How long the `number`-th batch is worked on."""
        by_window = self.batch_seconds
        duration = by_window[window] if isinstance(by_window, Mapping) else by_window
        return seconds_of(duration, number, self.seed)


def window_seconds(completion_window: str) -> float | None:
    """The length of a window like "24h" or "7d"; None for one without a length, like "background"."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", completion_window)
    return float(match[1]) * _UNITS[match[2]] if match else None
