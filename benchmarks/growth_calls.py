"""Whole calls, with all that happens for them from the door of a client or a proxy to the answer. For `growth.py`.

Each function returns the work to measure, which can be done once. The emulator's part is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import trio

from autobatcher import BatchOpenAI
from autobatcher.emulator import Emulator
from autobatcher.server import create_app
from autobatcher.upstream.failures import http_library

HURRIED: dict[str, Any] = {"lanes": ("batch", "realtime"), "deadline": "1h"}
CAPPED: dict[str, Any] = {"max_cost": 1_000, "unknown_prices": "admit"}
_LIBRARY = http_library(openai.DefaultAsyncHttpxClient).__name__


def calls(count: int, *, models: int = 1, **settings: Any) -> Callable[[], None]:
    """Concurrent calls of a client."""

    async def run() -> None:
        emulator = Emulator(like="openai", batch_seconds=0.0)
        async with client_of(emulator, **settings) as client:
            messages: Any = [{"role": "user", "content": "hello"}]
            create = client.chat.completions.create
            names = [f"m{number % models}" for number in range(count)]
            await asyncio.gather(*(create(model=name, messages=messages) for name in names))
        emulator.close()

    return lambda: asyncio.run(run())


def proxy_calls(count: int, *, callers: int = 1, body_of: Callable[[int], bytes]) -> Callable[[], None]:
    """Concurrent calls of a proxy, over ASGI, without a server: what waits there is the same."""

    async def run() -> None:
        emulator = Emulator(like="openai", batch_seconds=0.0)
        async with client_of(emulator) as client, trio.open_nursery() as nursery:
            app: Any = create_app(client, forward_keys=callers > 1)
            await nursery.start(_live, app)
            async with trio.open_nursery() as requests:
                for number in range(count):
                    requests.start_soon(_post, app, body_of(number), f"key-{number % callers}")
            nursery.cancel_scope.cancel()
        emulator.close()

    return lambda: trio.run(run)


def client_of(emulator: Emulator, **settings: Any) -> BatchOpenAI:
    defaults: dict[str, Any] = {
        "api_key": "key",
        "base_url": "http://upstream.test/v1",
        "provider": "openai",
        "batch_window_seconds": 0.05,
        "poll_interval_seconds": 0.05,
        "batch_size": 500,
        "http_client": emulator.http_client(library=_LIBRARY),
    }
    return BatchOpenAI(**{**defaults, **settings})


def body(number: int) -> bytes:
    """That of a call which equals no other."""
    return b'{"model": "m", "messages": [{"role": "user", "content": "%d"}]}' % number


async def _live(app: Any, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """The app's lifespan."""
    messages = iter([{"type": "lifespan.startup"}])

    async def receive() -> dict[str, str]:
        if (message := next(messages, None)) is None:
            await trio.sleep_forever()
        assert message is not None
        return message

    async def send(message: dict[str, Any]) -> None:
        task_status.started()

    await app.asgi_app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)


async def _post(app: Any, content: bytes, key: str) -> None:
    """One request, whose client reads the response and stays until then."""
    messages = iter([{"type": "http.request", "body": content, "more_body": False}])
    headers = {"host": "localhost", "content-type": "application/json", "authorization": f"Bearer {key}"}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "query_string": b"",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "state": {},
        "asgi": {"version": "3.0"},
    }
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        if (message := next(messages, None)) is None:
            await trio.sleep_forever()
        assert message is not None
        return message

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app.asgi_app(scope, receive, send)
    assert statuses == [200], statuses
