"""ragas takes a client in its factories, and asks it whether its methods are coroutine functions."""

from __future__ import annotations

import asyncio
from typing import Any

import pydantic
import pytest

from autobatcher import BatchOpenAI

from .quick import batches, framework, quick_world

llms: Any = framework("ragas.llms", RAGAS_DO_NOT_TRACK="true", XDG_DATA_HOME="{scratch}")
embeddings: Any = framework("ragas.embeddings")

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.filterwarnings("ignore"),  # ragas', langchain's and instructor's own
]

QUESTIONS = ["one", "two", "three", "four", "five"]


class Echo(pydantic.BaseModel):
    """What the emulator says in JSON mode."""

    echo: str


def judge(client: BatchOpenAI) -> Any:
    """The LLM that a metric is given, through `client`."""
    return llms.llm_factory("gpt-4o-mini", client=client)


def embedder(client: BatchOpenAI) -> Any:
    """The embeddings that a metric is given, through `client`."""
    return embeddings.embedding_factory("openai", model="text-embedding-3-small", client=client)


@pytest.mark.proves("frameworks", "ragas: llm_factory, agenerate")
async def test_generated_models_travel_as_one_batch() -> None:
    async with quick_world() as (harness, client):
        llm = judge(client)
        answers = await asyncio.gather(*(llm.agenerate(question, Echo) for question in QUESTIONS))
        assert [answer.echo for answer in answers] == QUESTIONS
        assert batches(harness) == [5]


@pytest.mark.proves("frameworks", "ragas: embedding_factory, aembed_text")
async def test_embeddings_travel_as_one_batch() -> None:
    async with quick_world() as (harness, client):
        model = embedder(client)
        vectors = await asyncio.gather(*(model.aembed_text(question) for question in QUESTIONS))
        assert len({tuple(vector) for vector in vectors}) == 5
        assert batches(harness) == [5]
