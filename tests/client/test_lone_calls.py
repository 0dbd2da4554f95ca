"""A loop that awaits one call after the other is told so, once; nobody else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from autobatcher import BatchOpenAI, BatchTransport
from tests.harness import MODEL, Harness, ask, open_harness

from .test_sync import open_client


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for record in caplog.records if "in a row" in (text := record.getMessage())]


async def ask_in_a_loop(client: BatchOpenAI, count: int = 6, pause: float = 0.0) -> None:
    for number in range(count):
        await ask(client, f"call {number}")
        await anyio.sleep(pause)


async def test_a_loop_of_awaits_is_told_once_and_shown_the_ways_out(caplog: pytest.LogCaptureFixture) -> None:
    async with open_harness(batch_seconds=600.0) as harness, harness.client() as client:
        await ask_in_a_loop(client, count=3)
        assert not warnings_in(caplog)
        await ask_in_a_loop(client.with_options(max_retries=5), count=20, pause=0.5)
        (told,) = warnings_in(caplog)
        for way in ("asyncio.gather", "nursery", "client.map", "BatchOpenAISync in many threads"):
            assert way in told
        assert "\n" not in told


async def test_a_loop_through_another_sdk_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async with open_harness(batch_seconds=600.0) as harness:
        transport = BatchTransport(http_client=harness.emulator.http_client(library="httpx"), provider="openai")
        async with httpx.AsyncClient(transport=transport, base_url="http://upstream.test/v1") as http:
            for number in range(5):
                body = {"model": MODEL, "messages": [{"role": "user", "content": str(number)}]}
                await http.post("/chat/completions", json=body, headers={"authorization": "Bearer k"})
    assert len(warnings_in(caplog)) == 1


@pytest.mark.real_time
def test_a_loop_in_one_thread_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with open_client(batch_window_seconds=0.1) as (_, client):
        for number in range(5):
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": str(number)}])
    assert len(warnings_in(caplog)) == 1


@pytest.mark.parametrize(
    "settings", [{"batch_size": 1}, {"deadline": "30h"}, {"batch_size": 1, "batch_window_seconds": 0}]
)
async def test_whoever_means_it_is_not_told(settings: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    async with open_harness(batch_seconds=60.0) as harness, harness.client(**settings) as client:
        await ask_in_a_loop(client)
    assert not warnings_in(caplog)


async def test_calls_with_deadlines_of_their_own_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async with open_harness(batch_seconds=60.0) as harness, harness.client() as client:
        with client.deadline("300h"):
            await ask_in_a_loop(client)
    assert not warnings_in(caplog)


async def test_a_job_that_calls_now_and_then_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async with open_harness(batch_seconds=60.0) as harness, harness.client() as client:
        await ask_in_a_loop(client, pause=30.0)
    assert not warnings_in(caplog)


async def test_a_server_with_little_to_do_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """One request after the other comes, each in a task of its own, or is queued by a proxy."""
    async with open_harness(batch_seconds=60.0) as harness, harness.client() as client:
        for number in range(6):
            async with anyio.create_task_group() as handlers:
                handlers.start_soon(ask, client, f"call {number}")
        body = b'{"model": "m", "messages": []}'
        for _ in range(6):
            await client.submit_nowait("/v1/chat/completions", body).outcome()
    assert not warnings_in(caplog)


async def test_rounds_of_calls_at_once_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async with open_harness(batch_seconds=60.0) as harness, harness.client() as client:
        for number in range(6):
            async with anyio.create_task_group() as callers:
                callers.start_soon(ask, client, f"another {number}")
                await ask(client, f"call {number}")
    assert not warnings_in(caplog)


async def test_failures_one_after_the_other_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async with open_harness(batch_seconds=60.0) as harness, harness.client() as client:
        for _ in range(6):
            with anyio.move_on_after(30):
                await ask(client, "leaves")
    assert not warnings_in(caplog)


async def test_a_rerun_that_gets_its_answers_from_a_journal_is_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    harness = Harness(batch_seconds=60.0)
    for _ in range(2):
        async with harness.client(journal=tmp_path / "journal", batch_window_seconds=0) as client:
            async with anyio.create_task_group() as callers:
                for number in range(6):
                    callers.start_soon(ask, client, f"call {number}")
            client.keep_for_rerun()
    async with harness.client(journal=tmp_path / "journal", batch_window_seconds=0) as client:
        await ask_in_a_loop(client)
    assert not warnings_in(caplog)
    harness.emulator.close()
