"""litellm takes a client with each call."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autobatcher import BatchOpenAI

from .quick import batches, framework, quick_world

litellm = framework("litellm", LITELLM_LOCAL_MODEL_COST_MAP="True")  # or importing it downloads a price list

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.filterwarnings("ignore"),  # litellm's own, about its objects and pydantic
]

QUESTIONS = ["one", "two", "three", "four", "five"]


async def complete(client: BatchOpenAI, question: str, **settings: Any) -> Any:
    """One call of litellm that goes through `client`."""
    messages = [{"role": "user", "content": question}]
    return await litellm.acompletion(model="openai/gpt-4o-mini", messages=messages, client=client, **settings)


@pytest.mark.proves("frameworks", "litellm: acompletion")
async def test_concurrent_completions_travel_as_one_batch() -> None:
    async with quick_world(ignore_timeouts=True) as (harness, client):
        answers = await asyncio.gather(*(complete(client, question) for question in QUESTIONS))
        assert [answer.choices[0].message.content for answer in answers] == QUESTIONS
        assert batches(harness) == [5]


@pytest.mark.proves("frameworks", "litellm: acompletion, whose timeout the client ignores")
async def test_the_timeout_of_each_call_does_not_end_the_wait() -> None:
    async with quick_world(ignore_timeouts=True) as (harness, client):
        answer = await complete(client, "one", timeout=0.01)
        assert answer.choices[0].message.content == "one"
        assert batches(harness) == [1]


@pytest.mark.proves("frameworks", "litellm: acompletion with stream=True")
async def test_a_stream_tells_a_batched_answer() -> None:
    async with quick_world() as (harness, client):
        stream = await complete(client, "a streamed answer", stream=True)
        told = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(told) == "a streamed answer"
        assert batches(harness) == [1]


@pytest.mark.proves("frameworks", "litellm: aembedding")
async def test_embeddings_travel_as_one_batch() -> None:
    async with quick_world() as (harness, client):

        async def embed(text: str) -> Any:
            return await litellm.aembedding(model="openai/text-embedding-3-small", input=[text], client=client)

        answers = await asyncio.gather(*(embed(text) for text in QUESTIONS))
        assert len({tuple(answer.data[0]["embedding"]) for answer in answers}) == 5
        assert batches(harness) == [5]
