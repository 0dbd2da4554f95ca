"""When to leave a lane, so that the next ones still have time."""

from __future__ import annotations

import pytest

from autobatcher.engine.lanes.cutoff import EARLIER_SHARE, HANDOVER_SECONDS, HARVEST_SECONDS, cutoff
from autobatcher.engine.lanes.durations import Durations
from autobatcher.engine.lanes.kinds import BatchKind, CallKind
from autobatcher.engine.lanes.lane import Lane
from autobatcher.engine.lanes.work import Work
from autobatcher.upstream.providers import DOUBLEWORD, GROQ, OPENAI, ProviderProfile

HOUR = 3_600.0
BATCH, FLEX, REALTIME = Lane
START = 1_000.0  # of any clock
BATCHES, CALLS = BatchKind("openai", "m", 0, "24h"), CallKind("openai", "m", FLEX)


def work(lines: int = 1, profile: ProviderProfile = OPENAI, concurrency: int = 32) -> Work:
    return Work(profile=profile, endpoint="/v1/chat/completions", model="m", lines=lines, lane_concurrency=concurrency)


def time_left(next_lanes: tuple[Lane, ...], of: Work, durations: Durations | None = None, hours: float = 24) -> float:
    """What a cutoff leaves until the deadline, in seconds."""
    deadline = START + hours * HOUR
    until = cutoff(deadline, next_lanes, of, durations or Durations(), kind=BATCHES, started_at=START)
    assert until is not None
    return deadline - until


def test_without_a_next_lane_nothing_is_cut_off() -> None:
    assert cutoff(START + HOUR, (), work(), Durations(), kind=BATCHES, started_at=START) is None
    assert cutoff(START + HOUR, (), work(), Durations(), kind=CALLS, started_at=START) is None


def test_a_batch_is_not_cut_off_for_a_lane_that_the_provider_does_not_have() -> None:
    assert cutoff(START + 24 * HOUR, (FLEX,), work(profile=GROQ), Durations(), kind=BATCHES, started_at=START) is None
    assert time_left((FLEX, REALTIME), work(profile=GROQ)) == time_left((REALTIME,), work(profile=GROQ))


def test_a_cutoff_leaves_time_to_cancel_to_read_and_for_a_slow_call() -> None:
    durations = Durations()
    slow_call = durations.quantile(work().call_kind(FLEX), 0.9)
    assert time_left((FLEX,), work()) == pytest.approx(600 + HARVEST_SECONDS + slow_call)
    assert time_left((FLEX,), work(profile=DOUBLEWORD)) == pytest.approx(60 + HARVEST_SECONDS + slow_call)
    assert time_left((REALTIME,), work()) < time_left((FLEX,), work())


def test_a_cutoff_leaves_time_for_each_of_the_lanes_that_follow() -> None:
    rest = Durations().quantile(work().call_kind(REALTIME), 0.9) + HANDOVER_SECONDS
    assert time_left((FLEX, REALTIME), work()) == pytest.approx(time_left((FLEX,), work()) + rest)


def test_more_lines_need_an_earlier_cutoff_and_fewer_left_a_later_one() -> None:
    call = Durations().quantile(CALLS, EARLIER_SHARE)
    assert time_left((FLEX,), work(32)) == time_left((FLEX,), work(1)) == time_left((FLEX,), work(0))
    assert time_left((FLEX,), work(33)) == pytest.approx(time_left((FLEX,), work(32)) + call)
    assert time_left((FLEX,), work(33, concurrency=64)) == time_left((FLEX,), work(1))


def test_calls_that_were_seen_to_be_slow_need_an_earlier_cutoff() -> None:
    durations = Durations()
    for _ in range(100):
        durations.record(work().call_kind(FLEX), 800, is_done=True)
    assert time_left((FLEX,), work(), durations) > time_left((FLEX,), work()) + 300


def test_a_batch_that_the_next_lane_could_not_answer_at_all_is_not_cut_off() -> None:
    assert cutoff(START + 2 * HOUR, (FLEX,), work(50_000), Durations(), kind=BATCHES, started_at=START) is None
    assert cutoff(START + 600, (FLEX,), work(), Durations(), kind=BATCHES, started_at=START) is None


def test_a_batch_that_is_almost_certainly_done_is_not_cut_off_for_a_cancellation_that_takes_longer() -> None:
    durations = Durations()
    assert cutoff(START + 800, (REALTIME,), work(), durations, kind=BATCHES, started_at=START) is not None
    for _ in range(100):
        durations.record(work().batch_kind("24h"), 60, is_done=True)
    assert cutoff(START + 800, (REALTIME,), work(), durations, kind=BATCHES, started_at=START) is None
    assert time_left((REALTIME,), work(), durations, hours=1) == pytest.approx(time_left((REALTIME,), work()))


def test_a_cutoff_that_has_passed_since_the_batch_started_is_told() -> None:
    """Calls turned out to be slower than expected: the caller sees a time in the past, and cuts off."""
    durations = Durations()
    before = time_left((FLEX,), work(2_000), durations, hours=5)
    for _ in range(100):
        durations.record(work().call_kind(FLEX), 250, is_done=True)
    assert before + 0.5 * HOUR < time_left((FLEX,), work(2_000), durations, hours=5) < 5 * HOUR


def test_a_flex_call_is_cut_off_for_real_time_alone_and_has_nothing_to_cancel_or_read() -> None:
    slow_call = Durations().quantile(work().call_kind(REALTIME), 0.9)
    until = cutoff(START + HOUR, (REALTIME,), work(), Durations(), kind=CALLS, started_at=START)
    assert until == pytest.approx(START + HOUR - slow_call - HANDOVER_SECONDS)
    assert cutoff(START + 20, (REALTIME,), work(), Durations(), kind=CALLS, started_at=START) is None
