"""langchain-openai takes its clients as fields: the SDK's resources, and the client they belong to."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from autobatcher import BatchOpenAI

from .quick import batches, framework, quick_world

langchain_openai = framework("langchain_openai")

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.filterwarnings("ignore"),  # langchain's own, about itself
]

QUESTIONS = ["one", "two", "three", "four", "five"]


class City(pydantic.BaseModel):
    name: str


def chat_model(client: BatchOpenAI, **settings: Any) -> Any:
    """A `ChatOpenAI` whose asynchronous calls go through `client`, and which refuses sync calls."""
    return langchain_openai.ChatOpenAI(
        model="gpt-4o-mini",
        async_client=client.chat.completions,
        root_async_client=client,
        api_key=_no_sync,
        **settings,
    )


def embeddings_model(client: BatchOpenAI) -> Any:
    """An `OpenAIEmbeddings` through `client`, without tiktoken, which would download its tables."""
    return langchain_openai.OpenAIEmbeddings(
        model="text-embedding-3-small",
        async_client=client.embeddings,
        check_embedding_ctx_length=False,
        chunk_size=2,
        api_key=_no_sync,
    )


async def _no_sync() -> str:
    """With a key that only async code can get, langchain makes no sync client."""
    return "unused"


@pytest.mark.proves("frameworks", "langchain-openai: ChatOpenAI.abatch")
async def test_abatch_travels_as_one_batch() -> None:
    async with quick_world() as (harness, client):
        answers = await chat_model(client).abatch(QUESTIONS)
        assert [answer.content for answer in answers] == QUESTIONS
        assert batches(harness) == [5]


@pytest.mark.proves("frameworks", "langchain-openai: ChatOpenAI.with_structured_output, abatch")
async def test_structured_output_travels_as_one_batch() -> None:
    async with quick_world() as (harness, client):
        answers = await chat_model(client).with_structured_output(City).abatch(QUESTIONS)
        assert answers == [City(name=question) for question in QUESTIONS]
        assert batches(harness) == [5]


@pytest.mark.proves("frameworks", "langchain-openai: ChatOpenAI.abatch through the Responses API")
async def test_abatch_of_responses_travels_as_one_batch() -> None:
    async with quick_world() as (harness, client):
        answers = await chat_model(client, use_responses_api=True).abatch(QUESTIONS)
        assert [answer.text for answer in answers] == QUESTIONS
        assert batches(harness) == [5]


@pytest.mark.proves("frameworks", "langchain-openai: ChatOpenAI.astream")
async def test_astream_tells_a_batched_answer() -> None:
    async with quick_world() as (harness, client):
        chunks = [chunk.content async for chunk in chat_model(client).astream("a streamed answer")]
        assert "".join(chunks) == "a streamed answer"
        assert batches(harness) == [1]


@pytest.mark.proves("frameworks", "langchain-openai: OpenAIEmbeddings.aembed_documents")
async def test_embeddings_go_through_a_batch() -> None:
    async with quick_world() as (harness, client):
        model = embeddings_model(client)
        vectors = await model.aembed_documents(QUESTIONS[:2])
        assert len({tuple(vector) for vector in vectors}) == 2
        assert batches(harness) == [1]


async def test_a_sync_call_is_refused_instead_of_paid_in_full() -> None:
    async with quick_world() as (harness, client):
        with pytest.raises(ValueError, match=r"[Ss]ync"):
            chat_model(client).invoke("one")
        with pytest.raises(ValueError, match=r"[Ss]ync"):
            embeddings_model(client).embed_documents(["one"])
        assert batches(harness) == []
