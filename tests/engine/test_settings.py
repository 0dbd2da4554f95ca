from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest

from autobatcher.engine.checks import completion_window_seconds
from autobatcher.engine.setting import descriptions
from autobatcher.engine.settings import Settings


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
        ("completion_window", "24"),
        ("completion_window", "5parsecs"),
        ("completion_window", "whenever"),
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
        ("journal", 5),
        ("journal", ""),
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
    [("24h", 86400), ("1h", 3600), ("7d", 604800), ("90 m", 5400), ("2d12h30min", 217800), ("background", math.inf)],
)
def test_a_completion_window_is_a_duration_where_it_can_be(window: str, seconds: float) -> None:
    assert completion_window_seconds(window) == seconds


def test_a_completion_window_that_is_no_duration_is_told_what_one_is() -> None:
    with pytest.raises(ValueError, match=r'must be a duration such as "24h".*or "background"; not .5parsecs.$'):
        Settings(completion_window="5parsecs")


def test_every_setting_is_described_and_its_default_passes_its_check() -> None:
    described = descriptions(Settings)
    assert [each.name for each in described] == [field.name for field in fields(Settings)]
    for each in described:
        assert each.checked(each.default) == each.default
        assert each.setting.help[0].islower()
        assert not each.setting.help.endswith(".")
        assert (each.setting.unit or "") in each.name
