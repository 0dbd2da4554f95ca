"""What type checkers must see of the public surface. Nothing runs this file.

`nox -s types` checks it with mypy and pyright, against the installed package. tests/docs/test_reference.py sees that it
has every public name.
"""

from __future__ import annotations

import os
import socket
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_never, assert_type

import anyio
import httpx
import openai
import pytest
import trio
from openai import AsyncStream, Stream
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ParsedChatCompletion
from openai.types.responses import Response
from pydantic import BaseModel

import autobatcher
from autobatcher import (
    Answer,
    AsyncOpenAI,
    BatchEndedError,
    BatchError,
    BatcherStatistics,
    BatchOpenAI,
    BatchOpenAISync,
    BatchSnapshot,
    BatchSubmissionError,
    BatchTimeoutError,
    BatchTransport,
    BatchUnreachableError,
    BudgetExceededError,
    CallEstimate,
    CallMap,
    CallMapSync,
    ClientClosedError,
    DeadlineMissedError,
    EngineError,
    IdempotencyKeyReusedError,
    JournalError,
    JournalInUseError,
    JournalUnreachableError,
    MapResult,
    ProgressSnapshot,
    ProviderProfile,
    Receipt,
    Request,
    UnbatchableRequestError,
    WrongEventLoopError,
    emulator,
    events,
)
from autobatcher.emulator import (
    BatchFault,
    BatchUpstream,
    BatchView,
    Bill,
    Billed,
    BillEntry,
    ConnectionLostError,
    Emulator,
    Fault,
    FaultPlan,
    HttpFault,
    LineFault,
    LineView,
    LogNormal,
    Price,
    PriceList,
    Recorded,
    Reply,
    Statistics,
    Usage,
    Webhook,
)
from autobatcher.server import CallLimits, Drain, Report, ServedHosts, Tally, create_app, serve, served_hosts
from autobatcher_pytest import batch_upstream

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
        deadline="45m",
        lanes=("batch", "flex"),
        max_cost="10/day",
        prices={"m": {"input": "0.40", "output": "1.60"}},
        progress=show,
        tracing=False,
        timeout=60,
        max_retries=3,
        http_client=httpx.AsyncClient(),
    ) as client:
        assert_type(client, BatchOpenAI)
        assert_type(client.with_options(timeout=5), BatchOpenAI)
        assert_type(client.unbatched, openai.AsyncOpenAI)
        assert_type(client.keep_for_rerun(), None)
        assert_type(client.flush(), None)
        assert_type(client.receipt(), Receipt)
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
    with client.deadline("15m"):
        assert_type(client.cost_of(await client.responses.create(model="m", input="x")), Decimal | None)
    estimate = await client.estimate(model="m", input=["x"], endpoint="/v1/embeddings")
    assert_type(estimate, CallEstimate)
    assert_type(estimate.cost, Decimal | None)
    assert_type(estimate.tokens.high.input, int)


async def check_calls_in_bytes(client: BatchOpenAI) -> None:
    answer = await client.answer("/v1/embeddings", b"{}")
    assert_type(answer, Answer)
    assert_type(answer.status_code, int)
    request = client.submit_nowait("/v1/embeddings", b"{}", api_key="k")
    assert_type(request, Request)
    assert_type(request.result(), Answer)
    assert_type(request.result().body, bytes)


async def check_many_calls(client: BatchOpenAI, sync_client: BatchOpenAISync) -> None:
    results = client.map(({"model": "m", "input": str(number)} for number in range(3)), "/v1/responses", ordered=True)
    assert_type(results, CallMap)
    async for result in results:
        assert_type(result, MapResult)
        assert_type(result.exception, Exception | None)
        assert_type(result.cost, Decimal | None)
    sync_results = sync_client.map([{"model": "m", "messages": CHAT}], ahead=10)
    assert_type(sync_results, CallMapSync)
    for result in sync_results:
        assert_type(result.index, int)


def check_the_receipt(receipt: Receipt) -> None:
    assert_type(receipt.total.cost, Decimal)
    assert_type(receipt.total.saving, Decimal | None)
    for row in receipt.rows:
        assert_type(row.tokens.output, int)


def show(now: ProgressSnapshot) -> None:
    assert_type(now.batches, tuple[BatchSnapshot, ...])
    assert_type(now.remaining_seconds, float | None)


def check_statistics(client: BatchOpenAI, sync_client: BatchOpenAISync) -> None:
    for statistics in (client.batch_statistics(), sync_client.batch_statistics()):
        if statistics is not None:
            assert_type(statistics, BatcherStatistics)
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


def check_each_event(told: events.AnyBatchEvent) -> None:
    """No kind is left over."""
    match told:
        case events.BatchSubmitted() | events.BatchResumed() | events.BatchLeft() | events.BatchCancelRequested():
            assert_type(told.request_count, int)
        case events.BatchProgress() | events.BatchCompleted() | events.BatchTerminal():
            assert_type(told.counts, events.RequestCounts)
        case events.BatchSubmissionFailed() | events.BatchCancelFailed():
            assert_type(told.error, str)
        case events.RequestsEscalated() | events.RequestsResubmitted():
            assert_type(told.reason, str)
        case events.RequestsFailed():
            assert_type(told.custom_ids, list[str])
        case events.RequestsReattached() | events.BatchCancelledUpstream():
            assert_type(told.metadata, dict[str, str])
        case events.ClientClosing():
            assert_type(told.active_batch_ids, list[str])
        case _:
            assert_never(told)
    base: events.BatchEvent = told
    assert_type(base.to_dict(), dict[str, Any])
    handler: events.BatchEventHandler = handle
    assert_type(events.TERMINAL_STATUSES, frozenset[str])
    del handler


def check_errors(error: BatchError) -> None:
    """Each can be caught as the SDK's own."""
    caught: openai.OpenAIError = error
    kinds: list[type[BatchError]] = [
        BatchEndedError,
        BatchSubmissionError,
        BatchTimeoutError,
        BatchUnreachableError,
        BudgetExceededError,
        ClientClosedError,
        DeadlineMissedError,
        EngineError,
        IdempotencyKeyReusedError,
        JournalError,
        JournalInUseError,
        JournalUnreachableError,
        UnbatchableRequestError,
        WrongEventLoopError,
    ]
    late: list[type[openai.APITimeoutError]] = [BatchTimeoutError, DeadlineMissedError]
    assert_type(error.batch_id, str | None)
    assert_type(autobatcher.__version__, str)
    del caught, kinds, late


def check_what_errors_say(ended: BatchEndedError, refused: BatchSubmissionError, dear: BudgetExceededError) -> None:
    assert_type(ended.status, str)
    assert_type(refused.response_body, bytes | None)
    assert_type(dear.cap, Decimal | None)


async def check_the_emulator() -> None:
    slow = BatchFault(takes=LogNormal(median_seconds=420, p90_seconds=3600), waits_seconds=Recorded((1, 2)))
    faults: tuple[Fault, ...] = (HttpFault(status=500), slow, LineFault(kind="drop", lines=(1,)))
    prices = PriceList((Price(model="gpt-*", input=Decimal("0.4"), output=Decimal("1.6")),))
    hook = Webhook("https://app.example.com/hook", "whsec_a2V5")
    with Emulator(batch_seconds=1, faults=FaultPlan(faults), prices=prices, webhook=hook) as server:
        check_its_books(server)
        async with BatchOpenAI(http_client=server.http_client()) as client:
            assert_type(client, BatchOpenAI)
        try:
            assert_type(await server.handle(emulator.Request("GET", "/v1/models")), Reply)
        except ConnectionLostError as lost:
            assert_type(lost.connected, bool)


def check_its_books(server: Emulator) -> None:
    assert_type(server.statistics(), Statistics)
    assert_type(server.statistics().batches, tuple[BatchView, ...])
    assert_type(server.statistics().lines, tuple[LineView, ...])
    assert_type(server.ledger(), tuple[Billed, ...])
    assert_type(server.bill(), Bill)
    assert_type(server.bill().total, Decimal)
    for entry in server.bill().entries:
        assert_type(entry, BillEntry)
        assert_type(entry.usage, Usage)


FIXTURE = batch_upstream


@pytest.mark.batch_upstream(batch_seconds=0.2)
def check_the_fixture(upstream: BatchUpstream) -> None:
    assert_type(upstream.base_url, str)
    assert_type(upstream.faults, FaultPlan)
    assert_type(upstream.ledger(), tuple[Billed, ...])


def check_the_old_client() -> None:
    takes_the_sdks_client(AsyncOpenAI())
    assert_type(AsyncOpenAI().receipt(), Receipt)


async def check_the_proxy(client: BatchOpenAI, listening: socket.socket) -> None:
    report = Report()
    assert_type(report.tally, Tally)
    hosts = served_hosts("0.0.0.0", is_loopback=False, cors_origins=["https://app.example.com"])
    assert_type(hosts, ServedHosts)
    app = create_app(client, proxy_key="k", limits=CallLimits(max_waiting=100), report=report, hosts=hosts)
    await serve(client, app, [listening], stop=trio.Event(), drain=Drain(report, 30))
