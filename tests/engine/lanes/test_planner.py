"""Which lane requests take first: the cheapest that is probably done in time."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatcher import UnbatchableRequestError
from autobatcher.engine.lanes.cutoff import HARVEST_SECONDS, LEAST_CHANCE, cutoff
from autobatcher.engine.lanes.durations import Durations
from autobatcher.engine.lanes.lane import Lane
from autobatcher.engine.lanes.planner import least_seconds, plan
from autobatcher.engine.lanes.work import Work
from autobatcher.upstream.providers import CONSERVATIVE, DOUBLEWORD, GROQ, OPENAI, ProviderProfile

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
BATCH, FLEX, REALTIME = Lane
B, BF, BR, BFR, F, FR = (BATCH,), (BATCH, FLEX), (BATCH, REALTIME), tuple(Lane), (FLEX,), (FLEX, REALTIME)
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"


def work(profile: ProviderProfile = OPENAI, lines: int = 1, endpoint: str = CHAT) -> Work:
    return Work(profile=profile, endpoint=endpoint, model="m", lines=lines)


def chosen(
    seconds_left: float | None,
    allowed: tuple[Lane, ...],
    of: Work,
    *,
    window: str | None = None,
    durations: Durations | None = None,
) -> tuple[str, str | None]:
    planned = plan(seconds_left, allowed, of, durations or Durations(), completion_window=window)
    return planned.lane.value, planned.completion_window


def seen(of: Work, window: str, seconds: float, *, is_done: bool = True) -> Durations:
    durations = Durations()
    for _ in range(200):
        durations.record(of.batch_kind(window), seconds, is_done=is_done)
    return durations


@pytest.mark.parametrize(
    ("profile", "allowed", "seconds_left", "wanted"),
    [
        # Nine batches in ten take less than an hour; cancelling one takes up to ten minutes.
        (OPENAI, B, None, ("batch", "24h")),
        (OPENAI, BFR, None, ("batch", "24h")),
        (OPENAI, BF, DAY, ("batch", "24h")),
        (OPENAI, BF, 2 * HOUR, ("batch", "24h")),
        (OPENAI, BF, HOUR, ("flex", None)),
        (OPENAI, BF, 5 * MINUTE, ("flex", None)),
        (OPENAI, B, 5 * MINUTE, ("batch", "24h")),  # nothing else is allowed
        (OPENAI, BFR, HOUR, ("flex", None)),
        (OPENAI, BFR, 5 * MINUTE, ("flex", None)),
        (OPENAI, BFR, MINUTE, ("realtime", None)),
        (OPENAI, BR, 2 * HOUR, ("batch", "24h")),
        (OPENAI, BR, HOUR, ("realtime", None)),
        (OPENAI, F, MINUTE, ("flex", None)),
        # Doubleword sells two windows, and promises no more than them.
        (DOUBLEWORD, B, None, ("batch", "24h")),
        (DOUBLEWORD, BF, 25 * HOUR, ("batch", "24h")),
        (DOUBLEWORD, BF, 3 * HOUR, ("batch", "1h")),
        (DOUBLEWORD, B, HOUR, ("batch", "1h")),
        (DOUBLEWORD, BF, 70 * MINUTE, ("batch", "1h")),
        (DOUBLEWORD, BF, 40 * MINUTE, ("flex", None)),
        (DOUBLEWORD, B, 5 * MINUTE, ("batch", "1h")),  # the better of two bad chances
        # Where there is no flex lane, real time is next if it is allowed, and only then.
        (GROQ, BF, 5 * MINUTE, ("batch", "24h")),
        (GROQ, BFR, 5 * MINUTE, ("realtime", None)),
        (CONSERVATIVE, BFR, 3 * HOUR, ("batch", "24h")),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_cheapest_lane_that_is_probably_done_in_time_is_taken(
    profile: ProviderProfile, allowed: tuple[Lane, ...], seconds_left: float | None, wanted: tuple[str, str | None]
) -> None:
    assert chosen(seconds_left, allowed, work(profile)) == wanted


def test_flex_is_not_used_where_it_is_charged_as_real_time() -> None:
    assert chosen(5 * MINUTE, BF, work(DOUBLEWORD, endpoint=EMBEDDINGS)) == ("batch", "1h")
    assert chosen(5 * MINUTE, BFR, work(DOUBLEWORD, endpoint=EMBEDDINGS)) == ("realtime", None)


def test_an_explicit_window_stands() -> None:
    assert chosen(None, BF, work(DOUBLEWORD), window="1h") == ("batch", "1h")
    assert chosen(3 * HOUR, B, work(DOUBLEWORD), window="24h") == ("batch", "24h")
    assert chosen(3 * HOUR, BF, work(DOUBLEWORD), window="24h") == ("flex", None)
    assert chosen(25 * HOUR, BF, work(DOUBLEWORD), window="1h") == ("batch", "1h")


def test_batches_that_were_seen_to_be_fast_are_used_for_closer_deadlines_and_slow_ones_for_none() -> None:
    assert chosen(30 * MINUTE, BF, work(), durations=seen(work(), "24h", 2 * MINUTE)) == ("batch", "24h")
    assert chosen(6 * HOUR, BF, work(), durations=seen(work(), "24h", 10 * HOUR)) == ("flex", None)
    assert chosen(6 * HOUR, BF, work(), durations=seen(work(), "24h", HOUR, is_done=False)) == ("flex", None)
    of = work(DOUBLEWORD)
    assert chosen(3 * HOUR, BF, of, durations=seen(of, "24h", 10 * MINUTE)) == ("batch", "24h")


def test_a_batch_that_could_not_be_cancelled_in_time_is_used_if_misses_are_rare() -> None:
    """Ten minutes leave no time to cancel. Only a batch that is nearly certain is worth it."""
    of = work(GROQ)
    for minutes in (10, 12, 13, 15):  # at 12, a cutoff would come after 20 seconds
        assert chosen(minutes * MINUTE, BR, of, durations=seen(of, "24h", MINUTE)) == ("batch", "24h")
    durations = seen(of, "24h", MINUTE)
    durations.record(of.batch_kind("24h"), HOUR, is_done=True)
    durations.record(of.batch_kind("24h"), HOUR, is_done=True)
    assert durations.chance(of.batch_kind("24h"), 10 * MINUTE) > LEAST_CHANCE
    assert chosen(10 * MINUTE, BR, of, durations=durations) == ("realtime", None)


def test_a_batch_that_is_too_large_for_the_next_lane_is_still_a_batch() -> None:
    assert chosen(2 * HOUR, BF, work(lines=50_000)) == ("batch", "24h")
    assert chosen(30 * MINUTE, BF, work(lines=50_000)) == ("batch", "24h")


def test_where_no_lane_can_answer_all_in_time_the_one_is_taken_that_answers_most() -> None:
    assert chosen(5 * MINUTE, BF, work(lines=100)) == ("flex", None)
    assert not plan(5 * MINUTE, BF, work(lines=100), Durations()).is_safe
    assert chosen(5 * MINUTE, BF, work(lines=600)) == ("batch", "24h")


def test_a_batch_may_wait_until_it_would_be_late() -> None:
    durations, of = Durations(), work()
    planned = plan(3 * HOUR, BF, of, durations)
    until = cutoff(3 * HOUR, F, of, durations, kind=of.batch_kind("24h"), started_at=0)
    assert until is not None
    assert planned.latest_start_seconds == pytest.approx(until - durations.quantile(of.batch_kind("24h"), 0.9))
    assert 1.5 * HOUR < planned.latest_start_seconds < 2 * HOUR
    assert plan(None, BF, of, durations).latest_start_seconds == math.inf
    assert plan(MINUTE, B, of, durations).latest_start_seconds == 0


def test_a_provider_without_any_of_the_lanes_is_named_with_what_to_allow() -> None:
    with pytest.raises(UnbatchableRequestError, match=r"'groq' has no lane \"flex\" for /v1/chat/completions\. Allow"):
        plan(HOUR, F, work(GROQ), Durations())
    with pytest.raises(UnbatchableRequestError, match="'groq' has no lane"):
        least_seconds(BF, work(GROQ, endpoint=EMBEDDINGS), Durations())


def test_a_deadline_below_what_the_lanes_need_at_best_can_be_told() -> None:
    durations = Durations()
    assert 1 < least_seconds(B, work(), durations) < MINUTE
    assert (
        least_seconds(BFR, work(), durations)
        < least_seconds(BF, work(), durations)
        < least_seconds(B, work(), durations)
    )
    fast = least_seconds(B, work(DOUBLEWORD), durations)
    assert fast < least_seconds(B, work(DOUBLEWORD), durations, completion_window="24h")


any_work = st.builds(
    work,
    st.sampled_from([OPENAI, DOUBLEWORD, GROQ, dataclasses.replace(OPENAI, cancel_seconds=0)]),
    st.sampled_from([0, 1, 30, 1_000, 50_000]),
    st.just(CHAT),
)
allowed_lanes = st.sampled_from([B, BF, BR, BFR, (REALTIME,)])
deadlines = st.floats(-DAY, 3 * DAY)


@settings(max_examples=200)
@given(any_work, allowed_lanes, deadlines)
def test_a_plan_is_for_an_allowed_lane_with_a_window_if_it_is_a_batch(
    of: Work, allowed: tuple[Lane, ...], seconds_left: float
) -> None:
    planned = plan(seconds_left, allowed, of, Durations())
    assert planned.lane in allowed
    assert (planned.completion_window is not None) == (planned.lane is BATCH)
    assert 0 <= planned.chance <= 1
    assert 0 <= planned.latest_start_seconds <= max(0, seconds_left)


@settings(max_examples=200)
@given(any_work, allowed_lanes, st.floats(0, 3 * DAY), st.floats(0, 3 * DAY), st.sampled_from([None, 60.0, 40_000.0]))
def test_more_time_never_makes_a_safe_plan_dearer_or_unsafe(
    of: Work, allowed: tuple[Lane, ...], one: float, other: float, usual_seconds: float | None
) -> None:
    durations = Durations() if usual_seconds is None else seen(of, "24h", usual_seconds)
    hurried, patient = (plan(seconds, allowed, of, durations) for seconds in sorted((one, other)))
    prices = [*((BATCH, window) for window in of.profile.priced_windows or ("24h",)), (FLEX, None), (REALTIME, None)]
    if hurried.is_safe:
        assert patient.is_safe
        assert prices.index((patient.lane, patient.completion_window)) <= prices.index(
            (hurried.lane, hurried.completion_window)
        )


@settings(max_examples=100)
@given(any_work, st.sampled_from([BF, BFR, BR]), st.floats(HOUR, 3 * DAY))
def test_at_its_cutoff_a_batch_leaves_enough_for_the_cheapest_of_the_next_lanes(
    of: Work, allowed: tuple[Lane, ...], seconds_left: float
) -> None:
    next_lanes = tuple(lane for lane in allowed[1:] if lane is REALTIME or of.profile.flex_endpoints)
    until = cutoff(seconds_left, next_lanes, of, Durations(), kind=of.batch_kind("24h"), started_at=0)
    if until is not None:
        rest = seconds_left - until - of.profile.cancel_seconds - HARVEST_SECONDS + 1
        assert plan(rest, next_lanes, of, Durations()).lane is next_lanes[0]
