"""A deadline counts at every door of the library: by setting, by block, by header."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import TaskStatus

from autobatcher import BatchOpenAI, BatchTransport, DeadlineMissedError, UnbatchableRequestError
from autobatcher.client.deadlines import deadline_block
from tests.client.test_sync import chat, open_client
from tests.harness import MODEL, SDK_LIBRARY, ask, open_harness, outcome_of

pytestmark = pytest.mark.full_price

HEADER = "x-autobatcher-deadline"
MESSAGES: Any = [{"role": "user", "content": "hello"}]
BODY = b'{"model": "m", "messages": [{"role": "user", "content": "hello"}]}'
HEADERS = {"authorization": "Bearer k", "content-type": "application/json"}
LANES = ("batch", "realtime")

Call = Callable[[BatchOpenAI, dict[str, str]], Awaitable[Any]]


async def _streamed(client: BatchOpenAI, headers: dict[str, str]) -> None:
    stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, extra_headers=headers)
    async for _ in stream:
        pass


async def _answer(client: BatchOpenAI, headers: dict[str, str]) -> None:
    copy = client.with_options(default_headers=headers)
    assert (await copy.answer("/v1/chat/completions", BODY)).lane == "realtime"


async def _raw(client: BatchOpenAI, headers: dict[str, str]) -> None:
    raw = await client.embeddings.with_raw_response.create(model=MODEL, input="hello", extra_headers=headers)
    assert raw.headers["x-autobatcher-lane"] == "realtime"


CALLS: dict[str, Call] = {
    "chat": lambda client, headers: client.chat.completions.create(
        model=MODEL, messages=MESSAGES, extra_headers=headers
    ),
    "chat of a copy, on the fast path": lambda client, headers: client.with_options(
        default_headers=headers
    ).chat.completions.create(model=MODEL, messages=MESSAGES),
    "stream": _streamed,
    "responses": lambda client, headers: client.responses.create(model=MODEL, input="hello", extra_headers=headers),
    "embeddings, raw": _raw,
    "answer of a copy": _answer,
}
"""What can be called, with headers of its own or of a copy of the client."""


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # the SDK leaves its own unfinished at [DONE]
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("way", ["setting", "block", "header"])
async def test_a_deadline_counts_for_every_call_and_is_not_sent(way: str) -> None:
    settings: dict[str, Any] = {"deadline": "5m"} if way == "setting" else {}
    headers = {HEADER: "5m"} if way == "header" else {}
    async with open_harness(has_lanes=True, batch_seconds=600) as harness:
        http = harness.emulator.http_client(library=SDK_LIBRARY)
        sent = _watched(http)
        async with harness.client(lanes=LANES, http_client=http, **settings) as client:
            for name, call in CALLS.items():
                begun = anyio.current_time()
                with client.deadline("5m") if way == "block" else nullcontext():
                    await call(client, headers)
                assert anyio.current_time() - begun < 300, name
        assert [billed.lane for billed in harness.emulator.ledger()] == ["realtime"] * len(CALLS)
    assert len(sent) == len(CALLS)
    assert not any(HEADER in request.headers for request in sent)


@pytest.mark.parametrize("way", ["setting", "header"])
async def test_a_deadline_counts_at_the_transport_for_other_sdks(way: str) -> None:
    settings: dict[str, Any] = {"deadline": "5m"} if way == "setting" else {}
    headers = {HEADER: "5m"} if way == "header" else {}
    async with open_harness(has_lanes=True, batch_seconds=600) as harness:
        upstream = harness.emulator.http_client(library="httpx")
        sent = _watched(upstream)
        transport = BatchTransport(http_client=upstream, provider="openai", lanes=LANES, **settings)
        async with httpx.AsyncClient(transport=transport, base_url="http://upstream.test/v1") as http:
            begun = anyio.current_time()
            answer = await http.post("/chat/completions", content=BODY, headers={**HEADERS, **headers})
            assert (answer.status_code, answer.headers["x-autobatcher-lane"]) == (200, "realtime")
            assert anyio.current_time() - begun < 300
    assert not any(HEADER in request.headers for request in sent)


async def test_a_missed_deadline_is_no_error_that_another_sdk_tries_again() -> None:
    async with open_harness(batch_seconds=50_000) as harness:
        upstream = harness.emulator.http_client(library="httpx")
        transport = BatchTransport(http_client=upstream, provider="openai", deadline="3h", lanes=["batch"])
        async with httpx.AsyncClient(transport=transport, base_url="http://upstream.test/v1") as http:
            answer = await http.post("/chat/completions", content=BODY, headers=HEADERS)
    assert (answer.status_code, answer.headers["x-should-retry"]) == (504, "false")
    assert answer.json()["error"]["type"] == "deadline_missed_error"


@pytest.mark.real_time
@pytest.mark.parametrize("way", ["setting", "block", "header", "answer"])
def test_a_deadline_counts_for_the_sync_client(way: str) -> None:
    settings: dict[str, Any] = {"deadline": "5m"} if way == "setting" else {}
    with open_client(lanes=LANES, batch_window_seconds=30, **settings) as (emulator, client):
        with client.deadline("5m") if way in ("block", "answer") else nullcontext():
            if way == "answer":
                assert client.answer("/v1/chat/completions", BODY).lane == "realtime"
            else:
                chat(client, extra_headers={HEADER: "5m"} if way == "header" else {})
        assert [billed.lane for billed in emulator.ledger()] == ["realtime"]


@pytest.mark.real_time
def test_the_sync_clients_block_may_begin_in_a_program_of_any_event_loop() -> None:
    """Its engine has another clock than the loop in which it is called; trio's begins anywhere."""

    async def call() -> None:
        with client.deadline("5m"):
            assert client.answer("/v1/chat/completions", BODY).lane == "realtime"

    with open_client(lanes=LANES, batch_window_seconds=30) as (_, client):
        anyio.run(call, backend="trio")


async def test_a_block_of_one_task_is_none_of_another() -> None:
    async with open_harness(has_lanes=True, batch_seconds=600) as harness, harness.client(lanes=LANES) as client:

        async def inside(*, task_status: TaskStatus[None]) -> None:
            with client.deadline("5m"):
                task_status.started()
                assert (await client.answer("/v1/chat/completions", BODY)).lane == "realtime"
            assert (await client.answer("/v1/chat/completions", BODY)).lane == "batch"

        async with anyio.create_task_group() as tasks:
            await tasks.start(inside)
            assert (await client.answer("/v1/chat/completions", BODY)).lane == "batch"


@pytest.mark.parametrize(("outer", "inner"), [("5m", "9h"), ("9h", "5m")])
async def test_of_nested_blocks_and_the_header_the_earliest_deadline_counts(outer: str, inner: str) -> None:
    async with open_harness(has_lanes=True, batch_seconds=600) as harness, harness.client(lanes=LANES) as client:
        with client.deadline(outer), client.deadline(inner):
            assert (await client.answer("/v1/chat/completions", BODY)).lane == "realtime"
        with client.deadline(outer):
            await client.with_options(default_headers={HEADER: inner}).answer("/v1/chat/completions", BODY)
        assert [billed.lane for billed in harness.emulator.ledger()] == ["realtime"] * 2


async def test_the_time_of_a_block_passes_between_its_calls() -> None:
    async with open_harness(batch_seconds=600) as harness, harness.client(lanes=["batch"]) as client:
        with client.deadline("3h"):
            await ask(client, "early enough")
            await anyio.sleep(3 * 3_600)
            assert isinstance(await outcome_of(ask(client, "too late")), DeadlineMissedError)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.real_time
def test_a_block_may_begin_before_the_event_loop(backend: str) -> None:
    async def main() -> str:
        async with open_harness(has_lanes=True, batch_seconds=600) as harness, harness.client(lanes=LANES) as client:
            return (await client.answer("/v1/chat/completions", BODY)).lane

    with deadline_block("5m"):
        assert anyio.run(main, backend=backend) == "realtime"


async def test_a_header_that_is_no_deadline_is_refused_and_nothing_is_sent() -> None:
    async with open_harness() as harness, harness.client() as client:
        for value in ("soon", "", "-5", "nan", "2020-01-01T00:00:00Z", "2126-01-01T00:00:00"):
            copy = client.with_options(default_headers={HEADER: value})
            for call in (ask(copy, "x"), copy.answer("/v1/chat/completions", BODY)):
                outcome = await outcome_of(call)
                assert isinstance(outcome, UnbatchableRequestError), value
                assert (outcome.param, outcome.status_code) == (HEADER, 400)
        assert harness.emulator.statistics().batches_created == 0


async def test_an_instant_that_passes_while_a_call_waits_is_missed_and_not_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The outcome of a plain call reaches its caller through the SDK, with its headers."""
    async with open_harness(batch_seconds=50_000) as harness, harness.client(lanes=["batch"]) as client:
        wall, begun = time.time(), anyio.current_time()
        instant = datetime.fromtimestamp(wall + 3 * 3_600, UTC).isoformat()
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: wall + anyio.current_time() - begun)
            outcome = await outcome_of(ask(client.with_options(default_headers={HEADER: instant}), "x"))
        assert isinstance(outcome, DeadlineMissedError)
        assert anyio.current_time() - begun == pytest.approx(3 * 3_600, abs=10)


async def test_a_call_without_a_deadline_waits_for_its_batch_and_says_so() -> None:
    async with open_harness(batch_seconds=600) as harness, harness.client(lanes=LANES) as client:
        raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)
        assert raw.headers["x-autobatcher-lane"] == "batch"


async def test_what_is_not_batched_is_sent_without_the_deadline_of_its_client() -> None:
    async with open_harness(has_lanes=True) as harness:
        http = harness.emulator.http_client(library=SDK_LIBRARY)
        sent = _watched(http)
        async with harness.client(http_client=http, default_headers={"X-Autobatcher-Deadline": "5m"}) as client:
            await client.models.list()
            await client.unbatched.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert len(sent) == 2
    assert not any(HEADER in request.headers for request in sent)


def _watched(http: Any) -> list[Any]:
    """What that client sends, from now on."""
    sent: list[Any] = []

    async def see(request: Any) -> None:
        sent.append(request)

    http.event_hooks["request"].append(see)
    return sent
