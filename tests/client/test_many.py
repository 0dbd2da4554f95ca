from __future__ import annotations

import anyio

from tests.harness import ask, open_harness

COUNT = 10_000


async def test_ten_thousand_calls_at_once_all_get_their_own_answers() -> None:
    async with open_harness() as harness, harness.client() as client:
        right = 0

        async def call(number: int) -> None:
            nonlocal right
            answer = await ask(client, f"caller-{number}.")
            right += f"caller-{number}." in answer

        async with anyio.create_task_group() as callers:
            for number in range(COUNT):
                callers.start_soon(call, number)
        assert right == COUNT
        assert harness.emulator.statistics().batches_created == COUNT // 1000
