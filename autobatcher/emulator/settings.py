"""The settings of an emulator."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Documented in `Emulator`."""

    batch_seconds: float
    validating_seconds: float
    finalizing_seconds: float
    cancelling_seconds: float
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
        for name in ("batch_seconds", "validating_seconds", "finalizing_seconds", "cancelling_seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative: {getattr(self, name)}")
        for name in ("max_requests", "max_file_bytes", "max_embedding_inputs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1: {getattr(self, name)}")


def window_seconds(completion_window: str) -> float | None:
    """The length of a window like "24h" or "7d"; None for one without a length, like "background"."""
    match = re.fullmatch(r"(\d+)([smhd])", completion_window)
    return float(match[1]) * _UNITS[match[2]] if match else None
