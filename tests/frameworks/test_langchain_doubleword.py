"""langchain-doubleword makes clients of ours itself, by the names that older versions gave them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.harness import Harness, open_harness

from .quick import QUICK, batches, completion_windows, framework, through_emulator

langchain_doubleword = framework("langchain_doubleword")

pytestmark = [pytest.mark.real_time, pytest.mark.filterwarnings("ignore")]

QUESTIONS = ["one", "two", "three"]


def model(kind: str, harness: Harness, **settings: Any) -> Any:
    """A model of theirs that batches at the emulator."""
    model_class = through_emulator(getattr(langchain_doubleword, kind), harness)
    return model_class(model="m", base_url="http://upstream.test/v1", api_key="k", **QUICK, **settings)


@pytest.mark.proves("frameworks", "langchain-doubleword: ChatDoublewordAsync.abatch")
@pytest.mark.parametrize(("kind", "window"), [("ChatDoublewordBatch", "24h"), ("ChatDoublewordAsync", "1h")])
async def test_concurrent_chats_travel_as_one_batch(kind: str, window: str) -> None:
    async with open_harness("doubleword", clock=time.monotonic) as harness:
        chat = model(kind, harness)
        answers = await chat.abatch(QUESTIONS)
        assert [answer.content for answer in answers] == QUESTIONS
        assert batches(harness) == [3]
        assert completion_windows(harness) == [window]
        await chat.root_async_client.close()


@pytest.mark.proves("frameworks", "langchain-doubleword: DoublewordEmbeddingsAsync.aembed_query")
async def test_concurrent_embeddings_travel_as_one_batch() -> None:
    async with open_harness("doubleword", clock=time.monotonic) as harness:
        embeddings = model("DoublewordEmbeddingsAsync", harness, check_embedding_ctx_length=False)
        vectors = await asyncio.gather(*(embeddings.aembed_query(question) for question in QUESTIONS))
        assert len({tuple(vector) for vector in vectors}) == 3
        assert batches(harness) == [3]
        assert completion_windows(harness) == ["1h"]
        await embeddings.async_client._client.close()
