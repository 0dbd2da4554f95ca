"""The SDK and httpx on an emulator in memory, and shortcuts for common requests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest
from openai.types import Batch

from autobatcher.emulator import Emulator

SDK_LIBRARY = "httpx" if openai.__version__.startswith("2.") else "httpx2"
CHAT = "/v1/chat/completions"


@asynccontextmanager
async def open_sdk(emulator: Emulator, **settings: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """The real SDK, talking to the emulator, without retries."""
    async with openai.AsyncOpenAI(
        **{
            "api_key": "test-key",
            "base_url": "http://emulator.test/v1",
            "http_client": emulator.http_client(library=SDK_LIBRARY),
            "max_retries": 0,
            **settings,
        }
    ) as sdk:
        yield sdk


@asynccontextmanager
async def open_http(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    """Plain httpx on the emulator, for what the SDK does not show."""
    async with httpx.AsyncClient(transport=emulator.transport(), base_url="http://emulator.test/v1") as http:
        yield http


def chat_line(custom_id: str, text: str | None = None, *, model: str = "m", **body: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": custom_id if text is None else text}]
    return line(custom_id, CHAT, {"model": model, "messages": messages, **body})


def line(custom_id: str, url: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def as_file(lines: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def create_batch(
    sdk: openai.AsyncOpenAI, lines: Iterable[dict[str, Any]] | bytes, endpoint: Any = CHAT, **order: Any
) -> Batch:
    content = lines if isinstance(lines, bytes) else as_file(lines)
    file = await sdk.files.create(file=("in.jsonl", content), purpose="batch")
    return await sdk.batches.create(
        **{"input_file_id": file.id, "endpoint": endpoint, "completion_window": "24h", **order}
    )


async def read_lines(sdk: openai.AsyncOpenAI, file_id: str | None) -> list[dict[str, Any]]:
    """The lines of a result file; none if there is no file."""
    if not file_id:
        return []
    content = await sdk.files.content(file_id)
    return [json.loads(line) for line in content.text.splitlines() if line]


async def results(sdk: openai.AsyncOpenAI, batch_id: str) -> dict[str, dict[str, Any]]:
    """The lines of both files of a batch by their custom_id."""
    batch = await sdk.batches.retrieve(batch_id)
    found = await read_lines(sdk, batch.output_file_id) + await read_lines(sdk, batch.error_file_id)
    return {line["custom_id"]: line for line in found}


def echo_of(line: dict[str, Any]) -> str:
    text: str = line["response"]["body"]["choices"][0]["message"]["content"]
    return text


async def read_until(response: httpx.Response, error: type[Exception]) -> bytes:
    """What arrives of a body before the connection breaks with `error`, which it must."""
    received = bytearray()

    async def read() -> None:
        async for chunk in response.aiter_bytes():
            received.extend(chunk)

    with pytest.raises(error):
        await read()
    return bytes(received)
