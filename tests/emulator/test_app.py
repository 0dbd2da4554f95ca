"""The emulator on a real socket, under hypercorn, with the SDK and with a bare socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest
import trio

from autobatcher import BatchOpenAI
from autobatcher.emulator import Emulator, FaultPlan, HttpFault, Webhook
from autobatcher.emulator.app import serve_emulator

from .doors import as_file, chat_line, create_batch, echo_of, read_lines, read_until

pytestmark = pytest.mark.real_time


@pytest.fixture
def anyio_backend() -> str:
    """The web server runs on trio alone."""
    return "trio"


@asynccontextmanager
async def serving(emulator: Emulator) -> AsyncIterator[str]:
    """The URL of the emulator on a free port, while the block runs; the server must end after it."""
    stop = trio.Event()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            with emulator:
                url = await nursery.start(partial(serve_emulator, emulator, shutdown_trigger=stop.wait))
                yield url
                stop.set()


async def test_the_sdk_runs_a_batch_over_a_real_socket() -> None:
    async with (
        serving(Emulator()) as url,
        openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as sdk,
    ):
        batch = await create_batch(sdk, [chat_line(f"r{i}", "x" * 1000) for i in range(200)])
        done = await sdk.batches.retrieve(batch.id)
        assert done.status == "completed"
        assert len(await read_lines(sdk, done.output_file_id)) == 200
        assert [each.id async for each in sdk.batches.list()] == [batch.id]
        with pytest.raises(openai.NotFoundError):
            await sdk.files.retrieve("file-unknown")


async def test_an_upload_beyond_the_limits_of_web_servers_gets_through() -> None:
    content = as_file(chat_line(f"r{i}", "x" * 10_000) for i in range(2000))
    assert len(content) > 16 * 1024 * 1024
    async with (
        serving(Emulator()) as url,
        openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as sdk,
    ):
        file = await sdk.files.create(file=("in.jsonl", content), purpose="batch")
        assert (await sdk.files.content(file.id)).content == content


async def test_streams_go_out_over_a_real_socket() -> None:
    async with serving(Emulator()) as url, httpx.AsyncClient() as http:
        body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True}
        told = await http.post(f"{url}/v1/chat/completions", json=body)
        assert told.headers["content-type"].startswith("text/event-stream")
        assert told.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("fault", [HttpFault(lose_answer=True), HttpFault(disconnect=True), HttpFault(refuse=True)])
async def test_a_lost_connection_ends_without_a_single_byte(fault: HttpFault) -> None:
    async with serving(Emulator(faults=FaultPlan((fault,)))) as url:
        address = urlsplit(url)
        stream = await trio.open_tcp_stream(address.hostname or "", address.port or 0)
        async with stream:
            await stream.send_all(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
            assert [chunk async for chunk in stream] == []


@pytest.mark.parametrize("path", ["/v1/models", "/v1/nowhere"])
async def test_a_connection_that_its_client_wants_closed_is_closed_after_the_response(path: str) -> None:
    async with serving(Emulator()) as url:
        address = urlsplit(url)
        async with await trio.open_tcp_stream(address.hostname or "", address.port or 0) as stream:
            with trio.fail_after(30):  # idle ones are kept for 75 s
                await stream.send_all(b"GET %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % path.encode())
                said = b"".join([chunk async for chunk in stream])
            assert said.startswith(b"HTTP/1.1 ")
            assert said.endswith(b"}")


async def test_a_cut_download_is_cut_on_the_wire() -> None:
    plan = FaultPlan((HttpFault(operation="files.content", first=1, cut_after_bytes=1000),))
    async with (
        serving(Emulator(faults=plan)) as url,
        openai.AsyncOpenAI(api_key="k", base_url=f"{url}/v1", max_retries=0) as sdk,
        httpx.AsyncClient() as http,
    ):
        batch = await create_batch(sdk, [chat_line(f"r{i}") for i in range(50)])
        done = await sdk.batches.retrieve(batch.id)
        async with http.stream("GET", f"{url}/v1/files/{done.output_file_id}/content") as response:
            assert len(await read_until(response, httpx.RemoteProtocolError)) == 1000
        whole = await http.get(f"{url}/v1/files/{done.output_file_id}/content")
        assert sorted(echo_of(json.loads(line)) for line in whole.text.splitlines()) == sorted(
            f"r{i}" for i in range(50)
        )


async def test_an_upload_that_is_redirected_is_sent_again_from_its_start() -> None:
    plan = FaultPlan((HttpFault(operation="files.create", nth=(1,), redirect_to=""),))
    emulator = Emulator(faults=plan)
    async with (
        serving(emulator) as url,
        BatchOpenAI(api_key="k", base_url=f"{url}/v1", batch_window_seconds=0.01, poll_interval_seconds=0.01) as client,
    ):
        messages: Any = [{"role": "user", "content": "x" * 1_000_000}]
        completion = await client.chat.completions.create(model="m", messages=messages)
        assert completion.choices[0].message.content == "x" * 1_000_000
        assert emulator.statistics().uploads == 1


def test_a_secret_that_signs_no_webhook_is_refused() -> None:
    for secret in ("", "secret", "whsec_", "whsec_!"):
        with pytest.raises(ValueError, match="base64"):
            Webhook("http://proxy.test/webhooks", secret)
