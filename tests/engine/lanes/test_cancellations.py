"""How long cancellations take: what documents say, until it was seen."""

from __future__ import annotations

import pytest

from autobatcher.engine.lanes.cancellations import ENOUGH, MARGIN, MAX_PROVIDERS, RECENT, Cancellations
from autobatcher.engine.lanes.durations import Durations
from autobatcher.upstream.providers import DOUBLEWORD, OPENAI


def after(*seconds: float) -> float:
    """What is expected of OpenAI after these."""
    cancellations = Cancellations()
    for each in seconds:
        cancellations.record("openai", each)
    return cancellations.expected_seconds(OPENAI)


def test_documents_are_believed_until_enough_was_seen() -> None:
    assert after() == after(*[5.0] * (ENOUGH - 1)) == OPENAI.cancel_seconds
    assert after(*[5.0] * ENOUGH) == pytest.approx(5.0 * MARGIN)


def test_one_that_took_longer_than_the_documents_say_is_believed_at_once() -> None:
    assert after(1_000.0) == pytest.approx(1_000.0 * MARGIN)


def test_the_slowest_of_the_recent_ones_counts_and_old_ones_are_forgotten() -> None:
    assert after(300.0, *[5.0] * (RECENT - 1)) == pytest.approx(300.0 * MARGIN)
    assert after(300.0, *[5.0] * RECENT) == pytest.approx(5.0 * MARGIN)


def test_providers_are_told_apart_and_not_remembered_without_bound() -> None:
    cancellations = Cancellations()
    cancellations.record("openai", 1_000.0)
    assert cancellations.expected_seconds(DOUBLEWORD) == DOUBLEWORD.cancel_seconds
    for number in range(2 * MAX_PROVIDERS):
        cancellations.record(f"provider {number}", 1.0)
    assert len(cancellations.recent) == MAX_PROVIDERS


def test_they_are_kept_with_the_durations_and_damaged_ones_are_left_out() -> None:
    durations = Durations()
    durations.cancellations.record("openai", 1_000.0)
    kept = durations.encoded()
    assert Durations.decoded(kept).cancellations.expected_seconds(OPENAI) == pytest.approx(1_000.0 * MARGIN)
    assert not Durations.decoded(kept.replace(b"1000.0", b"-5.0")).cancellations
    old = kept.replace(b',"cancellations":{"openai":[1000.0]}', b"")
    assert old != kept
    assert Durations.decoded(old).cancellations.expected_seconds(OPENAI) == OPENAI.cancel_seconds
