from __future__ import annotations

import pytest
import trio
import trio.testing

from autobatcher.server.hypercorn.fair_queue import FairQueue

pytestmark = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)


async def test_those_woken_together_go_on_a_few_at_a_time_and_in_their_order() -> None:
    fair_queue, all_at_once, passed = FairQueue(10), trio.Event(), list[int]()

    async def come(number: int) -> None:
        await all_at_once.wait()
        await fair_queue.pass_through()
        passed.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fair_queue.run)
        for number in range(100):
            nursery.start_soon(come, number)
        await trio.testing.wait_all_tasks_blocked()
        all_at_once.set()
        before = 0
        while len(passed) < 100:
            await trio.lowlevel.checkpoint()
            assert len(passed) - before <= 20
            before = len(passed)
        assert sorted(passed) == list(range(100))
        nursery.cancel_scope.cancel()


async def test_who_is_cancelled_before_it_can_go_on_holds_up_nobody() -> None:
    fair_queue = FairQueue(1)
    async with trio.open_nursery() as nursery:
        await fair_queue.pass_through()
        with trio.move_on_after(0) as scope:
            await fair_queue.pass_through()
        assert scope.cancelled_caught
        nursery.start_soon(fair_queue.run)
        with trio.fail_after(1):
            for _ in range(3):
                await fair_queue.pass_through()
        nursery.cancel_scope.cancel()
