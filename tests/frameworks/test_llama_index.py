"""llama-index takes a client for chat, and an HTTP client for embeddings."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from autobatcher import BatchOpenAI

from .quick import batches, framework, quick_http_client, quick_world

llms: Any = framework("llama_index.llms.openai_like")
embeddings: Any = framework("llama_index.embeddings.openai_like")
core: Any = framework("llama_index.core.llms")

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.filterwarnings("ignore"),  # llama-index' own, about itself
]

QUESTIONS = ["one", "two", "three", "four", "five"]


def chat_model(client: BatchOpenAI) -> Any:
    """An LLM whose asynchronous calls go through `client`."""
    return llms.OpenAILike(model="gpt-4o-mini", is_chat_model=True, async_openai_client=client)


def embedding_model(http_client: Any, **settings: Any) -> Any:
    """Embeddings whose asynchronous calls go through `http_client`: no parameter takes a client."""
    return embeddings.OpenAILikeEmbedding(
        model_name="text-embedding-3-small", api_key="key", async_http_client=http_client, **settings
    )


def message(text: str) -> Any:
    return core.ChatMessage(role="user", content=text)


@pytest.mark.proves("frameworks", "llama-index: OpenAILike.achat")
async def test_concurrent_chats_travel_as_one_batch() -> None:
    async with quick_world() as (harness, client):
        model = chat_model(client)
        answers = await asyncio.gather(*(model.achat([message(question)]) for question in QUESTIONS))
        assert [answer.message.content for answer in answers] == QUESTIONS
        assert batches(harness) == [5]


@pytest.mark.proves("frameworks", "llama-index: OpenAILike.astream_chat")
async def test_a_stream_tells_a_batched_answer() -> None:
    async with quick_world() as (harness, client):
        told = [chunk.delta async for chunk in await chat_model(client).astream_chat([message("a streamed answer")])]
        assert "".join(told) == "a streamed answer"
        assert batches(harness) == [1]


@pytest.mark.proves("frameworks", "llama-index: OpenAILikeEmbedding.aget_text_embedding_batch")
async def test_embeddings_travel_as_one_batch() -> None:
    async with quick_http_client() as (harness, http_client):
        vectors = await embedding_model(http_client, embed_batch_size=2).aget_text_embedding_batch(QUESTIONS)
        assert len({tuple(vector) for vector in vectors}) == 5
        assert batches(harness) == [3]
