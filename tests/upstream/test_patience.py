"""Failures count as permanent after enough of them in a row, over enough time."""

from __future__ import annotations

import pytest

from autobatcher.upstream.patience import MIN_FAILURES, Patience


def failures_until_over(patience: Patience, every: float, start: float = 0.0) -> int:
    """How many failures it takes, at one per `every` seconds."""
    count = 1
    while not patience.runs_out(start + (count - 1) * every):
        count += 1
        assert count < 10_000
    return count


def test_frequent_failures_are_believed_after_the_time() -> None:
    assert failures_until_over(Patience(600), every=10) == 61


@pytest.mark.parametrize("every", [150.0, 151.0, 3600.0, 1e6])
def test_rare_failures_are_believed_after_a_number(every: float) -> None:
    assert failures_until_over(Patience(600), every=every) == MIN_FAILURES


def test_the_time_before_the_first_failure_does_not_count() -> None:
    assert failures_until_over(Patience(600), every=10, start=1e9) == 61


def test_a_pause_between_two_failures_counts_as_one_step() -> None:
    patience = Patience(600)
    assert not patience.runs_out(0)
    assert not patience.runs_out(100_000)
    assert failures_until_over(patience, every=10, start=100_000) == 46  # 450 more seconds


def test_a_success_begins_a_new_row() -> None:
    patience = Patience(600)
    for moment in (0, 150, 300, 450):
        assert not patience.runs_out(moment)
    patience.reset()
    assert failures_until_over(patience, every=150, start=600) == MIN_FAILURES


def test_the_number_may_be_another() -> None:
    assert failures_until_over(Patience(10, least=3), every=60) == 3
