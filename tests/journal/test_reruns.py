"""A program dies and is run again: every answer arrives, and nothing is paid twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import anyio

from autobatcher import BatchOpenAI
from tests.journal.lives import Lives
from tests.worlds import World, ask, open_world, wait_for_event


async def ask_all(client: BatchOpenAI, texts: Iterable[str]) -> list[str]:
    answers: dict[int, str] = {}

    async def one(number: int, text: str) -> None:
        answers[number] = await ask(client, text)

    async with anyio.create_task_group() as nursery:
        for number, text in enumerate(texts):
            nursery.start_soon(one, number, text)
    return [answers[number] for number in sorted(answers)]


def billed(world: World) -> Counter[str]:
    """How often each prompt was paid for."""
    return Counter(line.body["messages"][0]["content"] for line in world.emulator.statistics().lines if line.billed)


async def test_a_rerun_takes_its_place_in_the_batch_that_still_runs(lives: Lives) -> None:
    async with open_world(batch_seconds=30.0) as world:
        async with lives.life(world) as life, anyio.create_task_group() as nursery:
            nursery.start_soon(ask_all, life.client, ["a", "b"])
            await wait_for_event(world, "batch_submitted")
            life.die()
        async with lives.life(world) as life:
            assert len(await ask_all(life.client, ["a", "b"])) == 2
        assert billed(world) == {"a": 1, "b": 1}
        assert world.emulator.statistics().batches_created == 1
        assert len(world.events_named("batch_resumed")) == 1
