"""pydantic-ai takes a client in its provider."""

from __future__ import annotations

import asyncio
from typing import Any

import pydantic
import pytest

from autobatcher import BatchOpenAI

from .quick import batches, framework, quick_world

pydantic_ai = framework("pydantic_ai")
models: Any = framework("pydantic_ai.models.openai")
providers: Any = framework("pydantic_ai.providers.openai")

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.filterwarnings("ignore"),  # pydantic-ai's own, about itself
]

QUESTIONS = ["one", "two", "three", "four", "five"]


class City(pydantic.BaseModel):
    name: str


def agent(client: BatchOpenAI, kind: str = "chat", **settings: Any) -> Any:
    """An agent whose model calls go through `client`, as chat completions or as responses."""
    model = models.OpenAIChatModel if kind == "chat" else models.OpenAIResponsesModel
    return pydantic_ai.Agent(model("gpt-4o-mini", provider=providers.OpenAIProvider(openai_client=client)), **settings)


@pytest.mark.parametrize("kind", ["chat", "responses"])
@pytest.mark.proves("frameworks", "pydantic-ai: Agent.run, {kind}")
async def test_concurrent_runs_travel_as_one_batch(kind: str) -> None:
    async with quick_world() as (harness, client):
        batched = agent(client, kind)
        results = await asyncio.gather(*(batched.run(question) for question in QUESTIONS))
        assert [result.output for result in results] == QUESTIONS
        assert batches(harness) == [5]


@pytest.mark.parametrize("kind", ["chat", "responses"])
@pytest.mark.proves("frameworks", "pydantic-ai: Agent.run with an output type, {kind}")
async def test_structured_outputs_travel_as_one_batch(kind: str) -> None:
    async with quick_world() as (harness, client):
        batched = agent(client, kind, output_type=City)
        results = await asyncio.gather(*(batched.run(question) for question in QUESTIONS))
        assert [result.output for result in results] == [City(name=question) for question in QUESTIONS]
        assert batches(harness) == [5]


@pytest.mark.proves("frameworks", "pydantic-ai: model_settings with max_retries")
async def test_a_copy_for_other_retries_uses_the_same_queue() -> None:
    async with quick_world() as (harness, client):
        patient, hasty = agent(client), agent(client, model_settings={"max_retries": 0})
        results = await asyncio.gather(patient.run("one"), hasty.run("two"))
        assert [result.output for result in results] == ["one", "two"]
        assert batches(harness) == [2]


@pytest.mark.parametrize("kind", ["chat", "responses"])
@pytest.mark.proves("frameworks", "pydantic-ai: Agent.run_stream, {kind}")
async def test_a_streamed_run_tells_a_batched_answer(kind: str) -> None:
    async with quick_world() as (harness, client), agent(client, kind).run_stream("a streamed answer") as run:
        told = [text async for text in run.stream_text(delta=True)]
        assert "".join(told) == "a streamed answer"
        assert batches(harness) == [1]
