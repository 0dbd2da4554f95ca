"""What becomes of a month of batches: planned, run, cut off and answered by the next lane, on paper."""

from __future__ import annotations

import heapq
import math
import random

import pytest

from autobatcher.engine.lanes.cutoff import cutoff
from autobatcher.engine.lanes.durations import Durations
from autobatcher.engine.lanes.kinds import FLEX_CALLS, OBSERVED_BATCHES, REALTIME_CALLS
from autobatcher.engine.lanes.lane import Lane
from autobatcher.engine.lanes.planner import Plan, plan
from autobatcher.engine.lanes.spread import LogNormal
from autobatcher.engine.lanes.work import Work
from autobatcher.upstream.providers import DOUBLEWORD, OPENAI, ProviderProfile

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
BATCH, FLEX, REALTIME = Lane
COUNT = 800


class Month:
    """Batches with deadlines from five minutes to a day. What each took is drawn, and learned."""

    def __init__(self, profile: ProviderProfile, batches: LogNormal, lines: int) -> None:
        self._dice = random.Random(17)
        self._batches = batches
        self.durations = Durations()
        self.work = Work(profile=profile, endpoint="/v1/chat/completions", model="m", lines=lines)
        self.in_time = self.at_a_discount = 0.0

    def run(self, allowed: tuple[Lane, ...]) -> None:
        for _ in range(COUNT):
            deadline = math.exp(self._dice.uniform(math.log(5 * MINUTE), math.log(DAY)))
            planned = plan(deadline, allowed, self.work, self.durations)
            if planned.completion_window is None:
                self._calls(planned.lane, deadline)
            else:
                self._batch(planned, planned.completion_window, deadline, allowed[1:])

    def _batch(self, planned: Plan, window: str, deadline: float, next_lanes: tuple[Lane, ...]) -> None:
        kind = self.work.batch_kind(window)
        took = self.drawn(self._batches)
        until = cutoff(deadline, next_lanes, self.work, self.durations, kind=kind, started_at=0)
        is_done = until is None or took <= until
        self.durations.record(kind, took if until is None else min(took, until), is_done=is_done)
        if until is None or is_done:
            self.in_time += took <= deadline
            self.at_a_discount += 1
            return
        left = deadline - until - self._dice.uniform(0, self.work.profile.cancel_seconds)
        self._calls(plan(left, next_lanes, self.work, self.durations).lane, left)

    def _calls(self, lane: Lane, seconds_left: float) -> None:
        workers = [0.0] * self.work.lane_concurrency
        for _ in range(self.work.lines):
            took = self.drawn(FLEX_CALLS if lane is FLEX else REALTIME_CALLS)
            self.durations.record(self.work.call_kind(lane), took, is_done=True)
            end = workers[0] + took
            heapq.heapreplace(workers, end)
            self.in_time += (end <= seconds_left) / self.work.lines
        self.at_a_discount += lane is FLEX

    def drawn(self, spread: LogNormal) -> float:
        deviation = math.log(spread.ninetieth / spread.median) / 1.2816
        return self._dice.lognormvariate(math.log(spread.median), deviation)


@pytest.mark.parametrize("profile", [OPENAI, DOUBLEWORD], ids=lambda profile: profile.name)
@pytest.mark.parametrize("batches", [OBSERVED_BATCHES, LogNormal(MINUTE, 5 * MINUTE), LogNormal(4 * HOUR, 12 * HOUR)])
def test_answers_come_in_time_and_cheap_whether_batches_are_usual_fast_or_slow(
    profile: ProviderProfile, batches: LogNormal
) -> None:
    month = Month(profile, batches, lines=40)
    month.run(tuple(Lane))
    assert month.in_time / COUNT >= 0.99
    assert month.at_a_discount / COUNT >= 0.95


def test_with_full_price_as_the_only_other_lane_the_discount_is_kept_where_batches_are_fast() -> None:
    month = Month(DOUBLEWORD, LogNormal(MINUTE, 5 * MINUTE), lines=40)
    month.run((BATCH, REALTIME))
    assert month.in_time / COUNT >= 0.99
    assert month.at_a_discount / COUNT >= 0.85


@pytest.mark.parametrize("batches", [OBSERVED_BATCHES, LogNormal(30 * MINUTE, 2 * HOUR)])
def test_the_chances_of_plans_are_calibrated(batches: LogNormal) -> None:
    """Of the plans that have a chance of nine in ten, nine in ten are done in time, and so on."""
    month = Month(OPENAI, batches, lines=40)
    dice, said, came = random.Random(3), 0.0, 0
    for _ in range(COUNT):
        deadline = dice.choice([10 * MINUTE, HOUR, 3 * HOUR])
        said += plan(deadline, (BATCH,), month.work, month.durations).chance
        took = month.drawn(batches)
        came += took <= deadline
        month.durations.record(month.work.batch_kind("24h"), took, is_done=True)
    assert said / COUNT == pytest.approx(came / COUNT, abs=0.03)
