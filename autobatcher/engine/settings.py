"""What a client can be told, checked when it is told."""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..events import BatchEventHandler

_MAX_PAIRS, _MAX_KEY, _MAX_VALUE = 16, 64, 512

DEADLINE_SLACK_SECONDS = 3600.0
"""How long after its completion window a batch may still be on its way to an end: providers overrun by minutes."""

DAY = 86_400.0

JOURNAL_RETENTION_SECONDS = 7 * DAY
"""How long the journal keeps answers: a program that failed on Friday is run again on Monday."""

_LEAST_EXPIRY, _MOST_EXPIRY = 3600, 30 * 86_400  # what `expires_after` takes, at OpenAI and at Doubleword

_DURATION = re.compile(r"(\d+)\s*([smhd])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How requests are gathered and batches looked after. The fields are `BatchOpenAI`'s parameters.

    Raises:
        TypeError, ValueError: naming the parameter, for a value that cannot work.
    """

    batch_size: int = 1000
    batch_window_seconds: float = 10.0
    poll_interval_seconds: float = 5.0
    completion_window: str = "24h"
    batch_metadata: Mapping[str, str] = field(default_factory=dict)
    batch_event_handler: BatchEventHandler | None = None
    cancel_active_batches_on_close: bool = False
    cancel_abandoned_batches: bool = True
    delete_input_files: bool = True
    deadline_slack_seconds: float = DEADLINE_SLACK_SECONDS
    max_active_batches: int = 200
    max_queued_bytes: int = 1_000_000_000
    journal: str | os.PathLike[str] | None = None
    journal_hash_only: bool = False
    journal_retention_seconds: float = JOURNAL_RETENTION_SECONDS

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_active_batches", "max_queued_bytes"):
            _check_count(name, getattr(self, name))
        _check_seconds("batch_window_seconds", self.batch_window_seconds, least=0.0)
        _check_seconds("poll_interval_seconds", self.poll_interval_seconds, least=0.001)
        _check_seconds("deadline_slack_seconds", self.deadline_slack_seconds, least=0.0)
        if not isinstance(self.completion_window, str) or not self.completion_window.strip():
            raise ValueError(f'completion_window must be text such as "24h", not {self.completion_window!r}')
        object.__setattr__(self, "batch_metadata", checked_metadata(self.batch_metadata))
        _check_handler(self.batch_event_handler)
        _check_journal(self.journal)
        _check_seconds("journal_retention_seconds", self.journal_retention_seconds, least=0.0)
        for name in (
            "cancel_active_batches_on_close",
            "cancel_abandoned_batches",
            "delete_input_files",
            "journal_hash_only",
        ):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r}")

    @property
    def batch_deadline_seconds(self) -> float:
        """How long after its creation a batch is given up; infinite for a window that is no duration."""
        return completion_window_seconds(self.completion_window) + self.deadline_slack_seconds

    @property
    def file_expiry_seconds(self) -> int:
        """After how long an upstream may delete an input file: after its batch's end, within the API's limits."""
        return int(min(max(self.batch_deadline_seconds + DAY, _LEAST_EXPIRY), _MOST_EXPIRY))


def completion_window_seconds(window: str) -> float:
    """The length of a completion window such as "24h", "1h" or "7d"; infinite for names like "background"."""
    match = _DURATION.fullmatch(window.strip().lower())
    return math.inf if match is None else int(match[1]) * _UNIT_SECONDS[match[2]]


def checked_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """A copy of `batch_metadata`, within the API's limits (16 pairs, keys of 64 and values of 512 characters)."""
    if metadata is not None and not isinstance(metadata, Mapping):
        raise TypeError(f"batch_metadata must be a dict of texts, not {type(metadata).__name__}")
    pairs = dict(metadata or {})
    if len(pairs) > _MAX_PAIRS:
        raise ValueError(f"batch_metadata may have {_MAX_PAIRS} pairs at most, not {len(pairs)}")
    for key, value in pairs.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"batch_metadata must map texts to texts; {key!r} does not")
        if not 0 < len(key) <= _MAX_KEY:
            raise ValueError(f"batch_metadata: the key {key!r} must have 1 to {_MAX_KEY} characters")
        if len(value) > _MAX_VALUE:
            raise ValueError(f"batch_metadata: the value of {key!r} has more than {_MAX_VALUE} characters")
    return pairs


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")


def _check_seconds(name: str, value: object, *, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not math.isfinite(value) or value < least:
        raise ValueError(f"{name} must be a finite number of seconds of at least {least:g}, not {value}")


def _check_journal(path: object) -> None:
    if path is not None and not (isinstance(path, str | os.PathLike) and os.fspath(path)):
        raise TypeError(f"journal must be the path of a file, not {path!r}")


def _check_handler(handler: object) -> None:
    if handler is None:
        return
    if not callable(handler):
        raise TypeError(f"batch_event_handler must be callable, not {handler!r}")
    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None)):  # noqa: B004
        raise TypeError("batch_event_handler must be a plain function: the engine does not await it")
