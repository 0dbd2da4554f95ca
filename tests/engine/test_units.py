"""Durations and sizes with units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatcher.engine.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 10),
        ("0.25", 0.25),
        ("1e3", 1000),
        ("10s", 10),
        ("500ms", 0.5),
        ("30m", 1800),
        ("30min", 1800),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        (" 7D ", 604800),
        ("2w", 1209600),
        ("0s", 0),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "5parsecs", "-1", "-1s", "inf", "nan", "1h30", "1 2s", "10 s x", "1..5s"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration: write 10s, 30m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64000000", 64_000_000),
        ("64MB", 64_000_000),
        ("1GiB", 2**30),
        ("500kB", 500_000),
        ("500 KB", 500_000),
        ("1.5GB", 1_500_000_000),
        ("0.1MB", 100_000),
        ("7b", 7),
    ],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "1.5", "0.0001kB", "-1MB", "64 megabytes", "64Mb/s", "inf", "1ib", "1e6"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is no size: write 500kB"):
        parse_size(text)


@given(st.integers(0, 10**7))
def test_a_duration_is_read_as_it_was_written(seconds: int) -> None:
    assert parse_duration(format_duration(float(seconds))) == seconds


@given(st.integers(0, 10**13))
def test_a_size_is_read_as_it_was_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(("seconds", "text"), [(0.25, "0.25s"), (10.0, "10s"), (90.0, "90s"), (3600.0, "1h")])
def test_a_duration_is_shown_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(64_000_000, "64MB"), (2**30, "1GiB"), (1_000_000_000, "1GB"), (17, "17")])
def test_a_size_is_shown_short(size: int, text: str) -> None:
    assert format_size(size) == text
