from __future__ import annotations

import math
from typing import Any

import pytest

from autobatcher.engine.settings import Settings, completion_window_seconds


async def _handler(fields: dict[str, Any]) -> None: ...


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("batch_size", True),
        ("batch_window_seconds", -1),
        ("batch_window_seconds", math.nan),
        ("batch_window_seconds", "10"),
        ("poll_interval_seconds", 0),
        ("poll_interval_seconds", math.inf),
        ("completion_window", ""),
        ("completion_window", 24),
        ("batch_metadata", "a=b"),
        ("batch_metadata", {"a": 1}),
        ("batch_metadata", {"": "x"}),
        ("batch_metadata", {"k" * 65: "x"}),
        ("batch_metadata", {"k": "x" * 513}),
        ("batch_metadata", {str(i): "x" for i in range(17)}),
        ("batch_event_handler", "print"),
        ("batch_event_handler", _handler),
        ("cancel_active_batches_on_close", "yes"),
        ("cancel_abandoned_batches", None),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        Settings(**{name: value})  # type: ignore[arg-type]


def test_metadata_at_the_limits_is_taken_and_copied() -> None:
    metadata = {f"{i:064}": "x" * 512 for i in range(16)}
    settings = Settings(batch_metadata=metadata)
    metadata.clear()
    assert len(settings.batch_metadata) == 16


@pytest.mark.parametrize(
    ("window", "seconds"),
    [("24h", 86400), ("1h", 3600), ("7d", 604800), ("90 m", 5400), ("background", math.inf)],
)
def test_a_completion_window_is_a_duration_where_it_can_be(window: str, seconds: float) -> None:
    assert completion_window_seconds(window) == seconds
