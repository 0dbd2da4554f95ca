"""Deadlines as users write them, and which travel together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatcher.engine.lanes.deadline import LONGEST_SECONDS, deadline_class, seconds_until

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC).timestamp()
DAY = 86_400


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (90, 90),
        (0.5, 0.5),
        ("90", 90),
        ("45m", 2_700),
        (" 1.5h ", 5_400),
        ("1h30m", 5_400),
        ("30d", 30 * DAY),
        ("2026-11-26T12:45:00Z", 2_700),
        ("2026-11-26t12:45:00.5z", 2_700.5),
        ("2026-11-26T12:45:00+00:00", 2_700),
        ("2026-11-26 13:45+01:00", 2_700),
        ("2026-11-26T05:45:00-0700", 2_700),
    ],
)
def test_a_deadline_is_seconds_or_a_duration_or_an_instant(value: object, seconds: float) -> None:
    assert seconds_until(value, wall_now=NOW) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "must be in the future, unlike 0"),
        (-5, "must be in the future, unlike -5"),
        (float("-inf"), "must be in the future"),
        ("0s", "must be in the future, unlike '0s'"),
        ("2026-11-26T12:00:00Z", "must be in the future, unlike '2026-11-26T12:00:00Z'"),
        ("0001-01-01T00:00:00+14:00", "must be in the future"),
        ("9999-12-31T23:59:59-14:00", "must be within 30d"),
        (float("nan"), 'must be seconds, a duration such as "45m", or an instant such as .*, not nan'),
        ("nan", "not 'nan'"),
        ("-5m", "not '-5m'"),
        ("", "must be seconds, a duration"),
        ("soon", "not 'soon'"),
        ("2026-13-26T12:00:00Z", "not '2026-13-26T12:00:00Z'"),
        ("2026-11-26T18:00:00", 'must say its zone, unlike .*: add "Z" for UTC, or one such as "\\+01:00"'),
        ("2026-11-27", "must say its zone"),
        (float("inf"), "must be within 30d"),
        ("inf", "not 'inf'"),
        (10**400, "must be within 30d"),
        (1_795_694_400, "must be within 30d, unlike 1795694400: write seconds"),  # a Unix time
        ("1795694400", "must be within 30d"),
        (True, "must be seconds"),
        (timedelta(minutes=5), "must be seconds"),
        (None, "must be seconds"),
    ],
)
def test_what_is_no_deadline_in_the_future_is_refused_with_what_to_write(value: object, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        seconds_until(value, wall_now=NOW)


def test_a_long_text_is_not_repeated_whole() -> None:
    with pytest.raises(ValueError, match="must be") as refused:
        seconds_until("x" * 100_000, wall_now=NOW)
    assert len(str(refused.value)) < 300


@given(st.text() | st.floats() | st.integers())
def test_whatever_is_written_is_refused_or_lies_ahead(value: object) -> None:
    try:
        seconds = seconds_until(value, wall_now=NOW)
    except ValueError:
        return
    assert 0 < seconds <= LONGEST_SECONDS


@given(st.floats(1, LONGEST_SECONDS - 1), st.integers(-14 * 60, 14 * 60))
def test_an_instant_means_the_same_in_every_zone(seconds: float, minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    written = datetime.fromtimestamp(NOW + seconds, zone).isoformat()
    assert seconds_until(written, wall_now=NOW) == pytest.approx(seconds, abs=0.001)


def test_no_deadline_is_a_class_of_its_own() -> None:
    assert deadline_class(None) is None


@pytest.mark.parametrize(
    "together", [("1m", "5m"), ("6m", "15m"), ("20m", "45m"), ("1h", "2h"), ("12h", "24h"), ("2d", "30d")]
)
def test_deadlines_of_one_order_of_magnitude_travel_together(together: tuple[str, str]) -> None:
    first, second = (deadline_class(seconds_until(text, wall_now=NOW)) for text in together)
    assert first == second


@given(st.floats(0, LONGEST_SECONDS), st.floats(0, LONGEST_SECONDS))
def test_a_later_deadline_is_never_in_a_more_hurried_class(one: float, other: float) -> None:
    sooner, later = deadline_class(min(one, other)), deadline_class(max(one, other))
    assert sooner is not None
    assert later is not None
    assert 0 <= sooner <= later <= 6
    if max(one, other) > 3.1 * max(min(one, other), 300) and min(one, other) <= DAY / 4:
        assert sooner < later  # who has three times as long does not share a batch
