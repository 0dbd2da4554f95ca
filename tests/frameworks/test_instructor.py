"""instructor patches a client that it is handed."""

from __future__ import annotations

import asyncio
from typing import Any

import pydantic
import pytest

from autobatcher import BatchOpenAI

from .quick import batches, framework, quick_world

instructor = framework("instructor")

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.filterwarnings("ignore"),  # instructor's own, about itself
]

QUESTIONS = ["one", "two", "three", "four", "five"]


class City(pydantic.BaseModel):
    name: str


def patched(client: BatchOpenAI, mode: str) -> Any:
    """instructor's own client, around `client`."""
    return instructor.from_openai(client, mode=instructor.Mode[mode])


async def extract(client: Any, question: str) -> Any:
    messages = [{"role": "user", "content": question}]
    return await client.chat.completions.create(model="gpt-4o-mini", messages=messages, response_model=City)


@pytest.mark.parametrize("mode", ["TOOLS", "JSON_SCHEMA"])
@pytest.mark.proves("frameworks", "instructor: from_openai, response_model, {mode}")
async def test_response_models_travel_as_one_batch(mode: str) -> None:
    async with quick_world() as (harness, client):
        batched = patched(client, mode)
        cities = await asyncio.gather(*(extract(batched, question) for question in QUESTIONS))
        assert [city.name for city in cities] == QUESTIONS
        assert batches(harness) == [5]


@pytest.mark.proves("frameworks", "instructor: create_partial")
async def test_a_partial_tells_a_batched_answer() -> None:
    async with quick_world() as (harness, client):
        stream = patched(client, "TOOLS").chat.completions.create_partial(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "Paris"}], response_model=City
        )
        partials = [partial async for partial in stream]
        assert partials[-1].name == "Paris"
        assert batches(harness) == [1]
