"""openai-agents takes a client in each model object."""

from __future__ import annotations

import asyncio
from typing import Any

import pydantic
import pytest

from autobatcher import BatchOpenAI

from .quick import batches, framework, quick_world

agents = framework("agents")

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.filterwarnings("ignore"),  # openai-agents' own, about itself
]

QUESTIONS = ["one", "two", "three", "four", "five"]
KINDS = ["OpenAIChatCompletionsModel", "OpenAIResponsesModel"]


class City(pydantic.BaseModel):
    name: str


@pytest.fixture(autouse=True)
def _no_tracing() -> None:
    """Traces would be sent to OpenAI."""
    agents.set_tracing_disabled(True)


def agent(client: BatchOpenAI, kind: str, **settings: Any) -> Any:
    """An agent whose model calls go through `client`."""
    model = getattr(agents, kind)(model="gpt-4o-mini", openai_client=client)
    return agents.Agent(name="echo", model=model, **settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.proves("frameworks", "openai-agents: Runner.run, {kind}")
async def test_concurrent_runs_travel_as_one_batch(kind: str) -> None:
    async with quick_world() as (harness, client):
        batched = agent(client, kind)
        results = await asyncio.gather(*(agents.Runner.run(batched, question) for question in QUESTIONS))
        assert [result.final_output for result in results] == QUESTIONS
        assert batches(harness) == [5]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.proves("frameworks", "openai-agents: Runner.run with an output type, {kind}")
async def test_structured_outputs_travel_as_one_batch(kind: str) -> None:
    async with quick_world() as (harness, client):
        batched = agent(client, kind, output_type=City)
        results = await asyncio.gather(*(agents.Runner.run(batched, question) for question in QUESTIONS))
        assert [result.final_output for result in results] == [City(name=question) for question in QUESTIONS]
        assert batches(harness) == [5]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.proves("frameworks", "openai-agents: Runner.run_streamed, {kind}")
async def test_streamed_runs_travel_as_one_batch(kind: str) -> None:
    async with quick_world() as (harness, client):
        batched = agent(client, kind)

        async def told(question: str) -> tuple[str, str]:
            run = agents.Runner.run_streamed(batched, question)
            deltas = [event.data.delta async for event in run.stream_events() if _is_text(event)]
            return "".join(deltas), run.final_output

        answers = await asyncio.gather(*(told(question) for question in QUESTIONS))
        assert answers == [(question, question) for question in QUESTIONS]
        assert batches(harness) == [5]


def _is_text(event: Any) -> bool:
    return bool(event.type == "raw_response_event" and event.data.type == "response.output_text.delta")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.proves("frameworks", "openai-agents: a tool call and the answer after it, {kind}")
async def test_each_turn_of_concurrent_runs_travels_as_one_batch(kind: str) -> None:
    def population(city: str) -> str:
        return f"{city}: many"

    async with quick_world() as (harness, client):
        batched = agent(
            client,
            kind,
            tools=[agents.function_tool(population)],
            model_settings=agents.ModelSettings(tool_choice="required"),  # the SDK resets it after the first turn
        )
        results = await asyncio.gather(*(agents.Runner.run(batched, question) for question in QUESTIONS))
        assert [result.final_output for result in results] == QUESTIONS
        assert [_tool_output(result) for result in results] == [f"{question}: many" for question in QUESTIONS]
        assert batches(harness) == [5, 5]


def _tool_output(result: Any) -> Any:
    (output,) = (item.output for item in result.new_items if item.type == "tool_call_output_item")
    return output
