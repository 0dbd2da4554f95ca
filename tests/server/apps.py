"""The proxy's app without sockets, on virtual time."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import trio

from autobatcher import BatchOpenAI
from autobatcher.server import create_app, served_hosts
from tests.harness import HTTP, Harness, open_harness

PAGE = {"origin": "https://app.example"}
HOSTS = served_hosts("127.0.0.1", is_loopback=True, cors_origins=[PAGE["origin"]])


@asynccontextmanager
async def open_app(
    *, emulator: dict[str, Any] | None = None, app: dict[str, Any] | None = None, **settings: Any
) -> AsyncGenerator[tuple[httpx.AsyncClient, Harness]]:
    """A client of the app in front of an emulator of its own."""
    async with (
        open_harness(**(emulator or {})) as harness,
        serving(harness, app=app, **settings) as served,
        plain(served) as http,
    ):
        yield http, harness


@asynccontextmanager
async def serving(harness: Harness, *, app: dict[str, Any] | None = None, **settings: Any) -> AsyncGenerator[Any]:
    """The app of a client of its own."""
    async with harness.client(**settings) as client, serving_with(client, **(app or {})) as served:
        yield served


@asynccontextmanager
async def serving_with(client: BatchOpenAI, **app: Any) -> AsyncGenerator[Any]:
    """The app of this client, with its lifespan around it."""
    async with trio.open_nursery() as nursery:
        served: Any = create_app(client, **{"hosts": HOSTS, **app})
        await nursery.start(_live, served)
        yield served
        nursery.cancel_scope.cancel()


async def _live(served: Any, task_status: trio.TaskStatus[None]) -> None:
    """Run the app's lifespan until cancelled."""
    first = iter([{"type": "lifespan.startup"}])

    async def receive() -> dict[str, str]:
        message = next(first, None)
        if message is None:
            await trio.sleep_forever()
        return message or {}

    async def send(message: dict[str, Any]) -> None:
        assert message["type"] == "lifespan.startup.complete", message
        task_status.started()

    await served.asgi_app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)


def plain(served: Any, **options: Any) -> httpx.AsyncClient:
    """An HTTP client of the app."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://localhost", **options)


def sdk(served: Any, api_key: str = "dummy") -> openai.AsyncOpenAI:
    """The official SDK as a client of the app."""
    http = HTTP.AsyncClient(transport=HTTP.ASGITransport(served))
    return openai.AsyncOpenAI(base_url="http://localhost/v1", api_key=api_key, http_client=http, max_retries=0)


async def ended(client: openai.AsyncOpenAI, id_: str) -> Any:
    """The response, polled until it has ended."""
    for _ in range(10_000):
        response = await client.responses.retrieve(id_)
        if response.status not in ("queued", "in_progress"):
            return response
        await trio.sleep(1)
    raise AssertionError("it never ended")
