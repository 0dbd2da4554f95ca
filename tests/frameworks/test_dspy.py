"""dspy takes an engine of one's own, and its own engine takes the HTTP of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from autobatcher import BatchOpenAI

from .quick import batches, framework, quick_world

# The cost map: or importing litellm downloads a price list.
dspy = framework("dspy", LITELLM_LOCAL_MODEL_COST_MAP="True", DSPY_CACHEDIR="{scratch}")
lm15: Any = framework("dspy.lm15")

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.filterwarnings("ignore"),  # dspy's and litellm's own
]

QUESTIONS = ["one", "two", "three", "four", "five"]


class BatchedHTTP:
    """What dspy's model for OpenAI's API sends its requests through: each becomes a line of a batch."""

    def __init__(self, client: BatchOpenAI) -> None:
        self._client = client

    @asynccontextmanager
    async def stream(self, request: Any) -> AsyncGenerator[SimpleNamespace]:
        answer = await self._client.answer("/v1/chat/completions", request.body)

        async def read() -> bytes:
            return answer.body

        yield SimpleNamespace(status=answer.status_code, reason="", headers=[], http_version="HTTP/1.1", read=read)


class AsyncOnly:
    """The engine for sync calls, which dspy wants, too: it refuses them. And it says what the model can do."""

    supported_params = ("response_format",)
    supports_response_schema = True

    def complete(self, request: Any) -> Any:
        raise RuntimeError("use acall")


def language_model(client: BatchOpenAI, model: str = "gpt-4o-mini") -> Any:
    """An LM whose `acall` goes through `client`."""
    engine = lm15.AsyncOpenAIChatLM(api_key="unused", transport=BatchedHTTP(client))
    return dspy.LM(model, engine=AsyncOnly(), async_engine=engine, cache=False)


@pytest.mark.proves("frameworks", "dspy: LM.acall")
async def test_concurrent_calls_travel_as_one_batch() -> None:
    async with quick_world() as (harness, client):
        lm = language_model(client)
        answers = await asyncio.gather(*(lm.acall(question) for question in QUESTIONS))
        assert [answer[0] for answer in answers] == QUESTIONS
        assert batches(harness) == [5]


@pytest.mark.proves("frameworks", "dspy: Predict.acall")
async def test_concurrent_predictions_travel_as_one_batch() -> None:
    async with quick_world() as (harness, client):
        predict = dspy.Predict("question -> answer")
        with dspy.context(lm=language_model(client), adapter=dspy.JSONAdapter()):
            answers = await asyncio.gather(*(predict.acall(question=question) for question in QUESTIONS))
        assert [question in answer.answer for question, answer in zip(QUESTIONS, answers, strict=True)] == [True] * 5
        assert batches(harness) == [5]


@pytest.mark.proves("frameworks", "dspy: LM.acall, a line that failed")
async def test_a_line_that_failed_is_dspys_own_error() -> None:
    async with quick_world() as (harness, client):
        with pytest.raises(dspy.LMError) as caught:
            await language_model(client, "fail-400").acall("one")
        assert "fail-400" in str(caught.value)
        assert batches(harness) == [1]


async def test_a_sync_call_is_refused_instead_of_paid_in_full() -> None:
    async with quick_world() as (harness, client):
        with pytest.raises(dspy.LMError, match="use acall"):
            language_model(client)("one")
        assert batches(harness) == []
