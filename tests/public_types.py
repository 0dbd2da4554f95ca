"""What type checkers must see of the public surface. `nox -s types` checks this file; nothing runs it."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type

import anyio
import httpx
import openai
from openai import AsyncStream, Stream
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ParsedChatCompletion
from openai.types.responses import Response
from pydantic import BaseModel

import autobatcher
from autobatcher import (
    BatchEndedError,
    BatchError,
    BatchOpenAI,
    BatchOpenAISync,
    BatchSubmissionError,
    BatchTimeoutError,
    BatchTransport,
    BatchUnreachableError,
    CallEstimate,
    ClientClosedError,
    EngineError,
    ProviderProfile,
    UnbatchableRequestError,
    WrongEventLoopError,
    events,
)
from autobatcher.emulator import Emulator, FaultPlan, HttpFault, Statistics

CHAT: list[Any] = [{"role": "user", "content": "What is 2 + 2?"}]


class City(BaseModel):
    name: str


def takes_the_sdks_client(client: openai.AsyncOpenAI) -> None: ...


def takes_the_sdks_sync_client(client: openai.OpenAI) -> None: ...


async def check_the_client(profile: ProviderProfile, folder: Path) -> None:
    takes_the_sdks_client(BatchOpenAI())
    async with BatchOpenAI(
        api_key="k",
        base_url="https://api.doubleword.ai/v1",
        batch_size=100,
        batch_window_seconds=1.5,
        poll_interval_seconds=5,
        completion_window="24h",
        batch_metadata={"job": "7"},
        batch_event_handler=handle,
        cancel_active_batches_on_close=True,
        cancel_abandoned_batches=True,
        delete_input_files=True,
        deadline_slack_seconds=60,
        max_active_batches=5,
        max_queued_bytes=1_000_000,
        journal=folder / "journal.sqlite3",
        journal_hash_only=False,
        journal_retention_seconds=3600,
        provider=profile,
        ignore_timeouts=True,
        timeout=60,
        max_retries=3,
        http_client=httpx.AsyncClient(),
    ) as client:
        assert_type(client, BatchOpenAI)
        assert_type(client.with_options(timeout=5), BatchOpenAI)
        assert_type(client.unbatched, openai.AsyncOpenAI)
        assert_type(client.keep_for_rerun(), None)
        assert_type(await client.close(), None)
        await check_calls(client)
        async with anyio.create_task_group() as nursery:
            await nursery.start(client.run)


async def check_calls(client: BatchOpenAI) -> None:
    completion = await client.chat.completions.create(model="m", messages=CHAT)
    assert_type(completion, ChatCompletion)
    assert_type(completion.choices[0].message.content, str | None)
    chunks = await client.chat.completions.create(model="m", messages=CHAT, stream=True)
    assert_type(chunks, AsyncStream[ChatCompletionChunk])
    parsed = await client.chat.completions.parse(model="m", messages=CHAT, response_format=City)
    assert_type(parsed, ParsedChatCompletion[City])
    assert_type(await client.responses.create(model="m", input="x"), Response)
    assert_type(await client.embeddings.create(model="m", input=["x"]), CreateEmbeddingResponse)
    estimate = await client.estimate(model="m", input=["x"], endpoint="/v1/embeddings")
    assert_type(estimate, CallEstimate)
    assert_type(estimate.cost, Decimal | None)
    assert_type(estimate.tokens.high.input, int)


async def check_calls_in_bytes(client: BatchOpenAI) -> None:
    answer = await client.answer("/v1/embeddings", b"{}")
    assert_type(answer.status_code, int)
    request = client.submit_nowait("/v1/embeddings", b"{}", api_key="k")
    answer = request.result()
    assert_type(answer.body, bytes)


def check_statistics(client: BatchOpenAI, sync_client: BatchOpenAISync) -> None:
    for statistics in (client.batch_statistics(), sync_client.batch_statistics()):
        if statistics is not None:
            assert_type(statistics.active_batch_ids, tuple[str, ...])


def check_the_sync_client(path: os.PathLike[str]) -> None:
    takes_the_sdks_sync_client(BatchOpenAISync())
    with BatchOpenAISync(batch_size=5, journal=path, provider="openai", http_client=httpx.Client()) as client:
        assert_type(client, BatchOpenAISync)
        assert_type(client.unbatched, openai.OpenAI)
        assert_type(client.chat.completions.create(model="m", messages=CHAT), ChatCompletion)
        chunks = client.chat.completions.create(model="m", messages=CHAT, stream=True)
        assert_type(chunks, Stream[ChatCompletionChunk])
        assert_type(client.close(), None)


async def check_the_transport() -> None:
    transport = BatchTransport(batch_size=5)
    async with httpx.AsyncClient(transport=transport) as http_client, anyio.create_task_group() as nursery:
        assert_type(http_client, httpx.AsyncClient)
        await nursery.start(transport.run)


def handle(event: dict[str, Any]) -> None:
    told = events.parse(event)
    assert_type(told, events.AnyBatchEvent)
    assert_type(told.ts, float)
    if isinstance(told, events.BatchSubmitted):
        assert_type(told.batch_id, str)


def check_errors(error: BatchError) -> None:
    """Each can be caught as the SDK's own."""
    caught: openai.OpenAIError = error
    kinds: list[type[BatchError]] = [
        BatchEndedError,
        BatchSubmissionError,
        BatchTimeoutError,
        BatchUnreachableError,
        ClientClosedError,
        EngineError,
        UnbatchableRequestError,
        WrongEventLoopError,
    ]
    late: type[openai.APITimeoutError] = BatchTimeoutError
    assert_type(autobatcher.__version__, str)
    del caught, kinds, late


async def check_the_emulator() -> None:
    with Emulator(batch_seconds=1, faults=FaultPlan((HttpFault(status=500),))) as emulator:
        assert_type(emulator.statistics(), Statistics)
        async with BatchOpenAI(http_client=emulator.http_client()) as client:
            assert_type(client, BatchOpenAI)
