"""How seldom a batch can be polled without its end being seen late."""

from __future__ import annotations

from statistics import fmean

import anyio
import pytest

from autobatcher.emulator import BatchFault, FaultPlan, LogNormal
from autobatcher.engine.batch.forecast import Forecast
from autobatcher.engine.batch.poll_schedule import FAR_INTERVALS, MAX_INTERVALS, Schedule
from autobatcher.engine.lanes.durations import LEAST_WEIGHT, Durations
from autobatcher.engine.lanes.kinds import BatchKind
from autobatcher.events import RequestCounts
from autobatcher.upstream.batch_state import BatchState
from tests.engine.test_faults_of_the_upstream import ask_many, check_answers
from tests.harness import ask, open_harness

INTERVAL = 5.0
KIND = BatchKind("openai", "m", 0, "24h")
AT_ONCE = FaultPlan((BatchFault(at_once=True),))


def running(done: int, total: int = 100, status: str = "in_progress") -> BatchState:
    return BatchState(id="b", status=status, counts=RequestCounts(completed=done, failed=0, total=total))


@pytest.mark.parametrize(("like", "most"), [("openai", 25), ("doubleword", 130)])
async def test_a_batch_whose_lines_are_done_is_polled_seldom_until_its_end_is_near(like: str, most: int) -> None:
    """Not where each poll brings answers."""
    async with open_harness(like, batch_seconds=600) as harness:
        check_answers(await ask_many(harness, 100, poll_interval_seconds=INTERVAL))
        assert harness.emulator.statistics().http_calls["batches.retrieve"] <= most
        assert anyio.current_time() <= 1 + 600 + 2 * INTERVAL


async def test_a_batch_is_polled_seldom_as_long_as_none_of_its_kind_ever_ended() -> None:
    takes = LogNormal(median_seconds=600, p90_seconds=700)
    async with open_harness(batch_seconds=takes, faults=AT_ONCE) as harness:
        async with harness.client(poll_interval_seconds=10) as client:
            polls = []
            for number in range(40):
                before = harness.emulator.statistics().http_calls.get("batches.retrieve", 0)
                await ask(client, str(number))
                polls.append(harness.emulator.statistics().http_calls["batches.retrieve"] - before)
        assert sum(polls[-10:]) < 0.8 * sum(polls[:10])
        assert anyio.current_time() / 40 - fmean(1 + takes.draw(number, 0) for number in range(1, 41)) <= 3.5 * 10


def test_the_speed_in_the_mean_or_the_last_one_tells_when_a_batch_may_be_done() -> None:
    forecast = Forecast()
    for at, done, remaining in [(0, 0, 0), (1_000, 0, 0), (1_010, 10, 90), (1_020, 12, 88 / 0.6), (1_030, 62, 7.6)]:
        forecast.saw(running(done), at)
        assert forecast.remaining(at) == pytest.approx(remaining)
    assert forecast.remaining(1_036) == pytest.approx(1.6)
    forecast.saw(running(0), 1_040)  # it was sent back
    forecast.saw(running(0, status="finalizing"), 1_050)
    assert forecast.remaining(1_050) == 0


def test_a_wait_is_never_shorter_than_an_interval_nor_longer_than_twelve() -> None:
    schedule = Schedule(INTERVAL)
    for remaining, quiet, wait in [
        (0, None, 1),
        (15, None, 1),
        (60, None, 4),
        (1e6, None, FAR_INTERVALS),
        (0, 0.1, 1),
        (0, 40, 8),
    ]:
        schedule.expect(remaining, quiet)
        assert schedule.next_wait(1) == pytest.approx(wait * INTERVAL)


def test_who_took_seven_minutes_each_time_is_left_alone_until_it_is_due() -> None:
    durations = Durations()
    for number in range(60):
        durations.record(KIND, 420.0 + number % 10, is_done=True)
        assert number > LEAST_WEIGHT or durations.quiet_seconds(KIND, 0.0, INTERVAL) is None
    assert durations.quiet_seconds(KIND, 60.0, INTERVAL) == pytest.approx(12 * INTERVAL, rel=0.2)
    assert durations.quiet_seconds(KIND, 400.0, INTERVAL) == pytest.approx(4 * INTERVAL, rel=0.5)
    assert durations.quiet_seconds(KIND._replace(model="new"), 60.0, INTERVAL) is None


@pytest.mark.parametrize("interval", [0.1, 0.7, 5.0, 1 / 3])
def test_polls_by_a_list_are_due_together_and_not_later_than_each_alone(interval: float) -> None:
    schedule, clock = Schedule(interval), 0.3 * interval
    for _ in range(1_000):
        wait = schedule.next_shared_wait(clock)
        assert 0 < wait <= schedule.next_wait(1) * 1.01
        clock += wait
        assert clock / interval == pytest.approx(round(clock / interval), abs=1e-6)
        schedule.unchanged()
    assert schedule.next_shared_wait(clock) == pytest.approx(MAX_INTERVALS * interval)
