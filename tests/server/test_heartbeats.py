"""When heartbeats are due. Virtual time."""

from __future__ import annotations

import pytest
import trio

from autobatcher.server.heartbeats import BEATS_AT_ONCE, SLOT_SECONDS, Heartbeats

pytestmark = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)


class Waiter:
    def __init__(self) -> None:
        self.beats: list[float] = []

    async def beat(self) -> None:
        self.beats.append(trio.current_time())


async def test_a_heartbeat_is_never_late_and_comes_once() -> None:
    heartbeats, waiters = Heartbeats(), [Waiter() for _ in range(20)]
    async with trio.open_nursery() as nursery:
        await nursery.start(heartbeats.run)
        begun = trio.current_time()
        for number, waiter in enumerate(waiters):
            slot = heartbeats.add(waiter, 1 + number / 33)
            if number % 2:
                heartbeats.discard(waiter, slot)
        await trio.sleep(5)
        for number, waiter in enumerate(waiters):
            after = [begun + 1 + number / 33 - beat for beat in waiter.beats]
            assert len(after) == 1 - number % 2
            assert all(-0.001 < early < 2.1 * SLOT_SECONDS for early in after), after
        nursery.cancel_scope.cancel()


async def test_each_is_told_though_the_clock_stands_at_the_moment_when_it_is_due() -> None:
    """2.15 is the beginning of slot 43, and 2.15 / 0.05 is less than 43."""
    heartbeats, waiters = Heartbeats(), [Waiter() for _ in range(200)]
    async with trio.open_nursery() as nursery:
        await nursery.start(heartbeats.run)
        for number, waiter in enumerate(waiters):
            heartbeats.add(waiter, number * SLOT_SECONDS)
        await trio.sleep(200 * SLOT_SECONDS)
        assert all(len(waiter.beats) == 1 for waiter in waiters)
        nursery.cancel_scope.cancel()


async def test_others_have_their_turns_between_the_heartbeats_of_one_moment() -> None:
    heartbeats, waiters = Heartbeats(), [Waiter() for _ in range(5 * BEATS_AT_ONCE)]
    seen: list[int] = []

    class First(Waiter):
        async def beat(self) -> None:
            nursery.start_soon(look)

    async def look() -> None:
        seen.append(sum(len(waiter.beats) for waiter in waiters))

    async with trio.open_nursery() as nursery:
        await nursery.start(heartbeats.run)
        for waiter in (First(), *waiters):
            heartbeats.add(waiter, 1.0)
        await trio.sleep(2)
        assert seen[0] < 2 * BEATS_AT_ONCE
        assert all(len(waiter.beats) == 1 for waiter in waiters)
        nursery.cancel_scope.cancel()


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


@pytest.mark.parametrize("is_discarded", [True, False])
async def test_nothing_runs_before_somebody_is_due(is_discarded: bool) -> None:
    heartbeats, waiter, steps = Heartbeats(), Waiter(), Steps()
    async with trio.open_nursery() as nursery:
        await nursery.start(heartbeats.run)
        heartbeats.add(Waiter(), 100)
        slot = heartbeats.add(waiter, 50)
        if is_discarded:
            heartbeats.discard(waiter, slot)
        trio.lowlevel.add_instrument(steps)
        await trio.sleep(60)
        trio.lowlevel.remove_instrument(steps)
        assert len(waiter.beats) == (0 if is_discarded else 1)
        assert steps.count < 6
        nursery.cancel_scope.cancel()
