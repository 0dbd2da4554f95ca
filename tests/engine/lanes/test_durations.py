"""How long batches may take, learned from how long they took."""

from __future__ import annotations

import math
import random
from statistics import NormalDist

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatcher.engine.lanes.durations import HALF_LIFE_SECONDS, MAX_KINDS, Durations
from autobatcher.engine.lanes.kinds import BatchKind, CallKind, Kind, size_class
from autobatcher.engine.lanes.lane import Lane

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0

BATCHES = BatchKind("openai", "gpt", 2, "24h")
FLEX = CallKind("openai", "gpt", Lane.FLEX)
REALTIME = CallKind("openai", "gpt", Lane.REALTIME)
KINDS: list[Kind] = [BATCHES, BatchKind("doubleword", "qwen", 2, "1h", is_promise=True), FLEX, REALTIME]

observations = st.lists(st.tuples(st.sampled_from(KINDS), st.floats(0, 1e7), st.booleans()), max_size=30)
durations_seconds = st.floats(0, 1e8)


def after(*observed: tuple[Kind, float, bool]) -> Durations:
    durations = Durations()
    for kind, seconds, is_done in observed:
        durations.record(kind, seconds, is_done=is_done)
    return durations


def log_normal(seed: int, median: float, ninetieth: float, count: int) -> list[float]:
    dice = random.Random(seed)
    deviation = math.log(ninetieth / median) / NormalDist().inv_cdf(0.9)
    return [dice.lognormvariate(math.log(median), deviation) for _ in range(count)]


def test_before_anything_was_seen_the_public_figures_hold() -> None:
    durations = Durations()
    assert durations.chance(BATCHES, 7 * MINUTE) == pytest.approx(0.5, abs=0.01)
    assert durations.chance(BATCHES, HOUR) == pytest.approx(0.9, abs=0.01)
    assert durations.quantile(BATCHES, 0.5) == pytest.approx(7 * MINUTE, rel=0.02)
    assert durations.quantile(BATCHES, 0.9) == pytest.approx(HOUR, rel=0.02)
    assert durations.chance(BATCHES, DAY) > 0.998


@pytest.mark.parametrize(
    ("window", "is_promise", "seconds"),
    [("1h", True, HOUR), ("24h", True, DAY), ("1h", False, HOUR), ("12h", False, DAY / 2)],
)
def test_of_a_window_sold_by_its_promise_only_the_promise_is_believed(
    window: str, is_promise: bool, seconds: float
) -> None:
    kind = BatchKind("doubleword", "qwen", 2, window, is_promise)
    assert 0.9 <= Durations().chance(kind, seconds) < 0.95
    assert Durations().chance(kind, seconds / 2) < 0.8


def test_a_window_without_a_promise_is_not_expected_soon() -> None:
    assert Durations().chance(BatchKind("doubleword", "qwen", 2, "background", True), DAY) < 0.5


def test_real_time_is_faster_than_flex() -> None:
    for share in (0.1, 0.5, 0.9, 0.99):
        assert Durations().quantile(REALTIME, share) < Durations().quantile(FLEX, share) / 2


@pytest.mark.parametrize(("median", "ninetieth"), [(7 * MINUTE, HOUR), (2 * MINUTE, 5 * MINUTE), (2 * HOUR, 8 * HOUR)])
def test_chances_are_what_they_say_for_a_provider_that_is_like_the_figures_or_unlike_them(
    median: float, ninetieth: float
) -> None:
    observed = log_normal(17, median, ninetieth, 300)
    durations = after(*((BATCHES, seconds, True) for seconds in observed))
    deviation = math.log(ninetieth / median) / NormalDist().inv_cdf(0.9)
    for share in (0.25, 0.5, 0.75, 0.9, 0.95):
        seconds = median * math.exp(deviation * NormalDist().inv_cdf(share))
        assert durations.chance(BATCHES, seconds) == pytest.approx(share, abs=0.06)


def test_chances_are_calibrated_over_the_life_of_an_engine() -> None:
    """Each batch is asked for before it is seen. Of those with a chance of 90 %, 90 % were done."""
    asked = [0.3 * HOUR, HOUR, 3 * HOUR]
    said, came = [0.0] * 3, [0] * 3
    durations = Durations()
    observed = log_normal(3, 7 * MINUTE, HOUR, 600)
    for seconds in observed:
        for place, limit in enumerate(asked):
            said[place] += durations.chance(BATCHES, limit)
            came[place] += seconds <= limit
        durations.record(BATCHES, seconds, is_done=True)
    for place in range(3):
        assert said[place] / 600 == pytest.approx(came[place] / 600, abs=0.02)


def test_batches_that_were_cut_off_do_not_make_the_rest_look_fast() -> None:
    """Slow batches (median 2 h), cut off after random times: the estimate is that of all, not of the lucky ones."""
    dice = random.Random(5)
    durations = Durations()
    for seconds in log_normal(4, 2 * HOUR, 8 * HOUR, 400):
        cut = dice.uniform(0.5, 8) * HOUR
        durations.record(BATCHES, min(seconds, cut), is_done=seconds <= cut)
    assert durations.chance(BATCHES, 2 * HOUR) == pytest.approx(0.5, abs=0.08)
    assert durations.quantile(BATCHES, 0.5) == pytest.approx(2 * HOUR, rel=0.25)


def test_a_batch_that_was_cut_off_lowers_the_chance_of_so_much_time_and_one_that_was_done_raises_it() -> None:
    usual = Durations().chance(BATCHES, HOUR)
    assert after(*[(BATCHES, HOUR, False)] * 10).chance(BATCHES, HOUR) < usual - 0.3
    assert after(*[(BATCHES, 5 * MINUTE, True)] * 10).chance(BATCHES, HOUR) > usual + 0.03


def test_one_observation_changes_little_and_many_are_believed() -> None:
    slow = (BATCHES, 20 * HOUR, True)
    usual = Durations().chance(BATCHES, HOUR)
    assert usual - 0.25 < after(slow).chance(BATCHES, HOUR) < usual
    assert after(*[slow] * 60).chance(BATCHES, HOUR) < 0.1


def test_a_model_that_was_never_seen_is_judged_by_its_providers_others() -> None:
    durations = after(*[(BATCHES, 10 * HOUR, True)] * 50)
    new_model, new_size = BATCHES._replace(model="new"), BATCHES._replace(size_class=4)
    others = BATCHES._replace(provider="groq"), BATCHES._replace(window="7d")
    assert durations.chance(new_model, HOUR) == durations.chance(new_size, HOUR) < 0.3
    assert all(durations.chance(kind, HOUR) == Durations().chance(kind, HOUR) > 0.85 for kind in others)


def test_a_model_of_its_own_pace_is_told_from_its_providers_others() -> None:
    fast, slow = BATCHES._replace(model="fast"), BATCHES._replace(model="slow")
    durations = after(*[(fast, 3 * MINUTE, True), (slow, 5 * HOUR, True)] * 40)
    assert durations.chance(fast, 10 * MINUTE) > 0.85
    assert durations.chance(slow, HOUR) < 0.15


def test_what_was_long_ago_is_outweighed_by_what_came_since() -> None:
    durations = after(*[(BATCHES, 10 * HOUR, True)] * 500, *[(BATCHES, 5 * MINUTE, True)] * 200)
    assert durations.chance(BATCHES, HOUR) > 0.9


def test_a_bad_day_is_forgotten_with_time_even_if_no_batch_is_sent_any_more() -> None:
    durations = after(*[(BATCHES, HOUR, False)] * 100)
    durations.pass_time(0.0)
    assert durations.chance(BATCHES, HOUR) < 0.1
    durations.pass_time(HALF_LIFE_SECONDS)
    assert durations.chance(BATCHES, HOUR) < 0.2
    durations.pass_time(10 * HALF_LIFE_SECONDS)
    assert durations.chance(BATCHES, HOUR) > 0.85


def test_many_small_steps_of_time_fade_as_one_long_one_and_a_clock_set_back_does_not() -> None:
    stepped, leaped, set_back = (after(*[(BATCHES, HOUR, False)] * 40) for _ in range(3))
    for durations in (stepped, leaped, set_back):
        durations.pass_time(1e9)
    for step in range(1, 300):
        stepped.pass_time(1e9 + step * DAY / 50)
    leaped.pass_time(1e9 + 299 * DAY / 50)
    set_back.pass_time(0.0)
    assert stepped.chance(BATCHES, HOUR) == pytest.approx(leaped.chance(BATCHES, HOUR), abs=0.005)
    assert set_back.chance(BATCHES, HOUR) < leaped.chance(BATCHES, HOUR) - 0.1


def test_the_longer_a_batch_has_run_the_longer_it_may_still_take() -> None:
    """Log-normal batches: what is stuck stays stuck. Of a batch that never ran, everything is left."""
    durations = Durations()
    assert durations.remaining_quantile(BATCHES, 0, 0.5) == pytest.approx(durations.quantile(BATCHES, 0.5))
    left = [durations.remaining_quantile(BATCHES, age, 0.5) for age in (0, 10 * MINUTE, HOUR, 5 * HOUR)]
    assert left == sorted(left)
    age = HOUR
    half = age + durations.remaining_quantile(BATCHES, age, 0.5)
    late = 1 - durations.chance(BATCHES, age)
    assert durations.chance(BATCHES, half) == pytest.approx(1 - late / 2, abs=0.001)


@settings(max_examples=60)
@given(observations, durations_seconds, durations_seconds, st.sampled_from(KINDS))
def test_a_chance_never_falls_with_time_and_stays_one(
    observed: list[tuple[Kind, float, bool]], one: float, other: float, kind: Kind
) -> None:
    durations = after(*observed)
    assert 0 <= durations.chance(kind, min(one, other)) <= durations.chance(kind, max(one, other)) <= 1
    assert durations.chance(kind, 0) == durations.chance(kind, -1) == durations.chance(kind, math.nan) == 0
    assert durations.chance(kind, math.inf) == 1


@settings(max_examples=60)
@given(observations, st.floats(0, 1), st.floats(0, 1), durations_seconds, st.sampled_from(KINDS))
def test_a_quantile_grows_with_its_share_and_is_the_inverse_of_the_chance(
    observed: list[tuple[Kind, float, bool]], one: float, other: float, age: float, kind: Kind
) -> None:
    durations = after(*observed)
    low, high = sorted((one, other))
    assert 0 < durations.quantile(kind, low) <= durations.quantile(kind, high) <= 40 * DAY
    assert 0 <= durations.remaining_quantile(kind, age, low) <= durations.remaining_quantile(kind, age, high)
    if low < 0.999:
        assert durations.chance(kind, durations.quantile(kind, low)) == pytest.approx(low, abs=1e-6)


@settings(max_examples=60)
@given(observations)
def test_what_was_learned_is_kept(observed: list[tuple[Kind, float, bool]]) -> None:
    durations = after(*observed)
    kept = Durations.decoded(durations.encoded())
    for kind in KINDS:
        for seconds in (MINUTE, HOUR, DAY):
            assert kept.chance(kind, seconds) == pytest.approx(durations.chance(kind, seconds), abs=1e-3)
    assert kept.encoded() == durations.encoded()


def test_time_passes_while_nothing_runs() -> None:
    durations = after(*[(BATCHES, HOUR, False)] * 100)
    durations.pass_time(1e9)
    kept = Durations.decoded(durations.encoded())
    kept.pass_time(1e9 + 20 * HALF_LIFE_SECONDS)
    assert kept.chance(BATCHES, HOUR) == pytest.approx(Durations().chance(BATCHES, HOUR), abs=0.01)


@given(st.binary() | st.text().map(str.encode))
def test_garbage_is_nothing_learned(content: bytes) -> None:
    assert Durations.decoded(content).encoded() == Durations().encoded()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b'{"format":1}',
        b'{"format":99,"wall_time":null,"kinds":[]}',
        b'{"format":1,"wall_time":NaN,"kinds":[]}',
        b'{"format":1,"wall_time":null,"kinds":[[["batch","openai","24h"],[[-1,1.0],[100000,1.0],[5,-3.0],[6,1e308]],[]]]}',
        msgspec.json.encode({"format": 1, "wall_time": 1e308, "kinds": [[["x"] * 50, [], []]] * 1000}),
    ],
)
def test_what_is_damaged_or_of_another_version_is_nothing_learned(content: bytes) -> None:
    durations = Durations.decoded(content)
    durations.pass_time(1e9)
    assert durations.chance(BATCHES, HOUR) == Durations().chance(BATCHES, HOUR)
    assert len(durations.encoded()) < 1_000


def test_memory_is_bounded_and_what_was_not_seen_for_longest_is_forgotten() -> None:
    durations = Durations()
    dice = random.Random(1)
    for number in range(3 * MAX_KINDS):
        kind = BatchKind("openai", f"{number}\ud800" + "x" * 5_000, 2, "24h")
        for _ in range(12):
            durations.record(kind, 10 ** dice.uniform(-3, 7), is_done=dice.random() < 0.5)
        durations.record(BATCHES, 20 * HOUR, is_done=True)
    content = durations.encoded()
    assert len(content) < 400_000
    assert len(msgspec.json.decode(content)["kinds"]) == MAX_KINDS
    assert durations.chance(BATCHES, HOUR) < 0.2


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0])
def test_what_is_no_duration_is_not_recorded(seconds: float) -> None:
    assert after((BATCHES, seconds, True)).encoded() == Durations().encoded()


def test_sizes_are_told_apart_by_powers_of_ten() -> None:
    assert [size_class(lines) for lines in (0, 1, 9, 10, 99, 100, 999, 1000, 50_000)] == [0, 0, 0, 1, 1, 2, 2, 3, 4]
