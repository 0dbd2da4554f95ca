"""`client.estimate`: tokens and cost of one call, before it is made."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import openai
import pydantic
import pytest

from autobatcher import BatchOpenAI, BatchOpenAISync, UnbatchableRequestError
from tests.harness import open_harness

SAY_HELLO: Any = [{"role": "user", "content": "Say hello to everybody who is here today."}]


def openai_client(**arguments: Any) -> BatchOpenAI:
    return BatchOpenAI(api_key="k", base_url="https://api.openai.com/v1", **arguments)


class City(pydantic.BaseModel):
    name: str


async def test_a_call_has_its_tokens_and_its_cost_before_it_is_made() -> None:
    pytest.importorskip("genai_prices")
    client = openai_client()
    estimate = await client.estimate(model="gpt-4o-mini", messages=SAY_HELLO, max_tokens=50)
    await client.close()
    tokens = estimate.tokens
    assert (estimate.endpoint, estimate.lane, estimate.completion_window) == ("/v1/chat/completions", "batch", "24h")
    assert 14 <= tokens.expected.input <= 20
    assert 0 <= tokens.low.output < tokens.expected.output < tokens.high.output <= tokens.most.output == 50
    listed = (tokens.expected.input * Decimal("0.15") + tokens.expected.output * Decimal("0.60")) / 1_000_000
    assert estimate.list_price == listed
    assert estimate.cost == listed / 2
    assert estimate.low_cost is not None
    assert estimate.high_cost is not None
    assert estimate.low_cost < estimate.cost < estimate.high_cost
    assert estimate.unknown == ()


async def test_nothing_is_sent_and_no_engine_is_started() -> None:
    async with open_harness() as harness:
        client = harness.client()
        estimate = await client.estimate(model="m", messages=SAY_HELLO)
        assert client.batch_statistics() is None
        assert not harness.emulator.statistics().lines
        assert not harness.events
        assert (estimate.cost, estimate.low_cost, estimate.high_cost, estimate.list_price) == (None,) * 4
        assert estimate.unknown, "why the price is unknown"
        await client.close()


ENDPOINTS = [
    ({"messages": SAY_HELLO}, "/v1/chat/completions"),
    ({"prompt": "Say hello."}, "/v1/completions"),
    ({"input": "Say hello."}, "/v1/responses"),
    ({"input": "Say hello.", "endpoint": "/v1/embeddings"}, "/v1/embeddings"),
    ({"input": "Say hello.", "endpoint": "embeddings"}, "/v1/embeddings"),
    ({"prompt": "A boat.", "endpoint": "/v1/images/generations"}, "/v1/images/generations"),
]


@pytest.mark.parametrize(("arguments", "endpoint"), ENDPOINTS)
async def test_the_arguments_tell_the_endpoint_unless_it_is_given(arguments: dict[str, Any], endpoint: str) -> None:
    client = openai_client()
    estimate = await client.estimate(model="m", **arguments)
    await client.close()
    assert estimate.endpoint == endpoint
    assert estimate.tokens.expected.input > 0
    assert (estimate.tokens.most.output == 0) == (endpoint == "/v1/embeddings")


async def test_it_takes_the_arguments_that_create_takes() -> None:
    client = openai_client()
    plain = await client.estimate(model="m", messages=SAY_HELLO, max_tokens=7)
    same: dict[str, Any] = {
        "messages": iter(SAY_HELLO),
        "max_tokens": openai.NOT_GIVEN,
        "temperature": openai.omit,
        "timeout": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
        "extra_headers": {"x-tag": "1"},
        "extra_body": {"max_tokens": 7},
    }
    assert await client.estimate(model="m", **same) == plain
    longer = await client.estimate(model="m", messages=SAY_HELLO, max_tokens=7, response_format=City)
    assert longer.tokens.expected.input > plain.tokens.expected.input
    await client.close()


async def test_a_call_that_would_be_refused_is_refused() -> None:
    client = openai_client()
    for arguments in ({"messages": SAY_HELLO}, {"model": "m", "endpoint": "/v1/audio/speech", "input": "x"}):
        with pytest.raises(UnbatchableRequestError):
            await client.estimate(**arguments)
    with pytest.raises(UnbatchableRequestError, match="does not take /v1/embeddings"):
        await openai_client(provider="groq").estimate(model="m", endpoint="/v1/embeddings", input="x")
    with pytest.raises(TypeError, match="endpoint="):
        await client.estimate(model="m")
    with pytest.raises(TypeError, match="JSON"):
        await client.estimate(model="m", messages=object())
    await client.close()


async def test_the_lane_is_the_first_one_that_the_client_may_use() -> None:
    pytest.importorskip("genai_prices")
    client = openai_client(lanes=("flex", "realtime"))
    chat = await client.estimate(model="gpt-5-mini", messages=SAY_HELLO)
    embeddings = await client.estimate(model="text-embedding-3-small", input="x", endpoint="/v1/embeddings")
    await client.close()
    assert (chat.lane, embeddings.lane, embeddings.completion_window) == ("flex", "realtime", None)
    assert embeddings.cost == embeddings.list_price is not None


def test_it_is_a_plain_call_of_the_client_for_threads() -> None:
    with BatchOpenAISync(api_key="k", base_url="https://api.openai.com/v1") as client:
        copy = client.with_options(max_retries=0)
        assert copy.estimate(model="m", prompt="hello", max_tokens=3).tokens.most.output == 3
        assert client.batch_statistics() is None
