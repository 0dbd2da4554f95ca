"""llamaindex-doubleword makes clients of ours itself, by the names that older versions gave them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.harness import Harness, open_harness

from .quick import QUICK, batches, completion_windows, framework, through_emulator

llamaindex_doubleword = framework("llamaindex_doubleword")

pytestmark = [pytest.mark.real_time, pytest.mark.filterwarnings("ignore")]

QUESTIONS = ["one", "two", "three"]


def model(kind: str, harness: Harness, **settings: Any) -> Any:
    """A model of theirs that batches at the emulator."""
    model_class = through_emulator(getattr(llamaindex_doubleword, kind), harness)
    return model_class(api_base="http://upstream.test/v1", api_key="k", **QUICK, **settings)


@pytest.mark.proves("frameworks", "llamaindex-doubleword: DoublewordLLMAsync.acomplete")
@pytest.mark.parametrize(("kind", "window"), [("DoublewordLLMBatch", "24h"), ("DoublewordLLMAsync", "1h")])
async def test_concurrent_chats_travel_as_one_batch(kind: str, window: str) -> None:
    async with open_harness("doubleword", clock=time.monotonic) as harness:
        llm = model(kind, harness, model="m")
        answers = await asyncio.gather(*(llm.acomplete(question) for question in QUESTIONS))
        assert [answer.text for answer in answers] == QUESTIONS
        assert batches(harness) == [3]
        assert completion_windows(harness) == [window]
        await llm._batch_client.close()


@pytest.mark.proves("frameworks", "llamaindex-doubleword: DoublewordEmbeddingAsync.aget_text_embedding")
async def test_concurrent_embeddings_travel_as_one_batch() -> None:
    async with open_harness("doubleword", clock=time.monotonic) as harness:
        embedding = model("DoublewordEmbeddingAsync", harness, model_name="m")
        vectors = await asyncio.gather(*(embedding.aget_text_embedding(question) for question in QUESTIONS))
        assert len({tuple(vector) for vector in vectors}) == 3
        assert batches(harness) == [3]
        assert completion_windows(harness) == ["1h"]
        await embedding._batch_client.close()
